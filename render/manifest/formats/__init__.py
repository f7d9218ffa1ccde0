"""The formats of tables, one module each: file or table in memory → raw columns. `render.manifest.table` chooses.

Text formats: `separated` (with `separators`), `json_lines`, `prompt_lines`; `text` opens them. Parquet: `parquet` (with
`pages`); tables in memory: `frames`. `bounded` has the bounds that all keep. No fault is repaired here: `Problems` has it.
"""
