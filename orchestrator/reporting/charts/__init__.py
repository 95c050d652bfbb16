"""The figures as Vega-Lite specifications: a file a figure, from plain rows. The page and the files have the same."""
