"""How the embedded model is made and measured. Not installed: run it from a clone, as CONTRIBUTING.md says."""
