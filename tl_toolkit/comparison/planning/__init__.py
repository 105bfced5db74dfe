"""Planning: parse a grid file into runs with their keys, stages and searches."""
