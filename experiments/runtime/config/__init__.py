"""Options, recipes and the command line's words."""
