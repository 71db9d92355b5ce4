//! Progress bars.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on the terminal, if standard error is one.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(doing: &'static str, length: u64) -> Self {
        let style = ProgressStyle::with_template("{msg:>24} {wide_bar} {pos}/{len} {elapsed}");
        let bar = ProgressBar::new(length).with_style(style.expect("the template is valid"));
        Self(bar.with_message(doing))
    }

    pub(crate) fn seconds(seconds: u64) -> Self {
        let style = ProgressStyle::with_template("{msg:>24} {wide_bar} {pos}/{len} s");
        let bar = ProgressBar::new(seconds).with_style(style.expect("the template is valid"));
        Self(bar.with_message("measuring"))
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.inc(count);
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
