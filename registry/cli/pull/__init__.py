"""`registry pull`: images read through a running server, so that its cache has them."""
