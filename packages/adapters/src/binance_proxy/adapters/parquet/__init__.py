"""The archive: days of ticks in Parquet files, in a local folder or wherever pyarrow and fsspec reach."""
