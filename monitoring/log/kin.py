"""Which predictions are one observation: copies of a picture, and pictures of one session within a minute."""

import polars as pl


def kin_of(group: str) -> pl.Expr:
    """
    The column `kin`: by it rows of the log are known to belong together.

    group: Metadata column of images that belong together, within a minute; "" = the same file alone.
    """
    picture = pl.when(pl.col("image_sha256") != "").then(pl.col("image_sha256")).otherwise(pl.col("id"))
    if not group:
        return picture.alias("kin")
    path = "$['" + group.replace("\\", "\\\\").replace("'", "\\'") + "']"
    session = pl.col("metadata").str.json_path_match(path).fill_null("")
    minute = pl.col("at").dt.truncate("1m").dt.to_string()
    return pl.when(session != "").then(session + "\0" + minute).otherwise(picture).alias("kin")
