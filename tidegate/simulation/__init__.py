"""The parts of Tidegate's own generator of payments; its public entry is `tidegate.simulate`."""
