"""The site of the documentation: its Sphinx configuration, its version switch and the program that builds it."""
