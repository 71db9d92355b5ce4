//! The corpora of the fuzz targets: each input as it is, and changed at random.

mod corpora;
