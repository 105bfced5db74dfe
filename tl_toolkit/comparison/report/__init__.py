"""Reports of comparisons: the HTML page, its figures, Markdown, LaTeX and tables; and merging of records."""
