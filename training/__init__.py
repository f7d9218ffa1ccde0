"""Training and evaluation of the starter model, which `render/starter/pipeline` ships. Not part of the installed package.

Run from the root of a clone, after `pip install -e '.[train]'`:

    python -m training.train --work build/starter       # npm packages → build/starter/pipeline
    python -m training.evaluate --work build/starter    # figures of the shipped model

May be touched: the folder `--work` (dataset and checkpoints), the folder `--out`, and with `--record` the recorded figures.
"""
