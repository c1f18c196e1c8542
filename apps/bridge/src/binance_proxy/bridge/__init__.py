"""The bridge as a program: configuration, composition and command line."""
