"""Bring photos from `data/images`, an archive or a URL to arrays in `data/prepared`.

The download stage:

1. `raw.py` copies an archive, packs a folder, or fetches (`fetch.py`) a file into `data/raw`.

The split stage, which `prepare.py` tells from top to bottom:

2. `source.py` reads `data/raw` file by file: members of archives (`archives.py`), and rows of Parquet files.
3. `staging.py` sorts them into photos, tables and others, and decodes the photos (`images.py`) into one temporary file.
4. The class of each photo, and its split if the source has splits, come from tables (`tables.py`, `labels.py`), else
   from its path (`layout.py`), and of a known data set from its own files (`known.py`).
5. `corrections.py` applies what people decided about single images.
6. `duplicates.py` finds images that belong together, `splitting.py` places them, `shards.py` writes them.

All other stages open the result by `prepared.py`.
"""
