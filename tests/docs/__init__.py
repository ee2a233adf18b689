"""The documentation is true: its code runs, its links lead somewhere, the site builds without a warning."""
