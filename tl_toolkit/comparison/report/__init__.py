"""What a comparison leaves for readers: the page, its pictures, Markdown, LaTeX and tables; and merging."""
