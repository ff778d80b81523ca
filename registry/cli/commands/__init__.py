"""One module a command: its options, its help, what it prints; registry/__main__.py has the table of them."""
