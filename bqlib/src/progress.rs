//! How far long work is, as bars on a terminal; nowhere else, and not with `-q`.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// Bars that share a terminal.
pub struct Bars(MultiProgress);

impl Bars {
    /// Shown, unless there is no terminal to show them on.
    pub(crate) fn new(hidden: bool) -> Bars {
        let target = match hidden {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        Bars(MultiProgress::with_draw_target(target))
    }

    /// One for so many bytes: is told how many are done, and goes when they are.
    pub fn of_bytes(&self, what: String, bytes: u64) -> impl Fn(u64) + use<> {
        let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
        let bar = self.0.add(bar);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
        {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.set_length(bytes);
        move |done| match done >= bytes {
            true => bar.finish_and_clear(),
            false => bar.set_position(done),
        }
    }
}
