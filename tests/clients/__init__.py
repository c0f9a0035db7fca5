"""What other libraries do with the registered environments, each in a module; see `__main__`."""
