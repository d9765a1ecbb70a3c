//! How far long work is, as bars and lines on a terminal; nowhere else, and not with `-q`.

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// Bars that share a terminal.
pub struct Bars(MultiProgress);

/// So many bytes, as people read them: `1.20 GiB`.
pub fn in_words(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A line that says how far something is. It goes when it is dropped.
pub struct Line(ProgressBar);

impl Line {
    /// Says it anew.
    pub fn tell(&self, text: String) {
        self.0.set_message(text);
        self.0.tick();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Bars {
    /// Shown, unless there is no terminal to show them on.
    pub(crate) fn new(hidden: bool) -> Bars {
        let target = match hidden {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        Bars(MultiProgress::with_draw_target(target))
    }

    /// A line of words; none where nobody would read it, and what it would say need not be asked for.
    pub fn line(&self) -> Option<Line> {
        if self.0.is_hidden() {
            return None;
        }
        let bar = self.0.add(ProgressBar::no_length());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Some(Line(bar))
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
