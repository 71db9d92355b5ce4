//! `countersign device run`.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use countersign_device::document::FetchPolicy;
use countersign_device::{
    AllowedHost, Answer, Choice, DeclineReason, Device, Event, Listen, PhoneFile, Pin,
    Run as Running, display, run,
};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};
use tokio::sync::{Mutex, mpsc};

use super::said::DeviceEvent;
use super::woken::Receiver;
use crate::cli::paint::{Color, Paint};
use crate::cli::{answer, parent};

/// A line that arrives sooner was typed for the question before.
const TOO_SOON: Duration = Duration::from_millis(300);

/// Run a device: it shows transactions, and signs or declines them.
///
/// Transactions that are already open come first. The device stays connected, and reconnects if the
/// server is unavailable.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[command(after_help = "Example:\n  countersign device run phone.json --answer ask")]
pub(in crate::cli) struct Run {
    /// The device's file, from `countersign device enrol`
    file: PathBuf,
    /// The answer to every transaction
    #[arg(long, value_enum, default_value_t)]
    answer: Say,
    /// The PIN, for transactions that require it
    #[arg(long, value_parser = Pin::parse)]
    pin: Option<Pin>,
    /// End after so many transactions that this device ended [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Sign with a short code whenever one is accepted, not only if no other format is
    #[arg(long)]
    code: bool,
    /// Read TrustedX's processes at their addresses, and end them by their links
    #[arg(long)]
    links: bool,
    /// Sign with SHA-1 if the transaction accepts nothing better
    #[arg(long)]
    allow_sha1: bool,
    /// Poll the server over HTTP, for networks that block the channel
    #[arg(long)]
    poll: bool,
    /// Also fetch documents from this host, although it is not on the public internet
    #[arg(long, value_name = "HOST[:PORT]")]
    allow_fetch: Vec<AllowedHost>,
    /// Do not stay connected; wait for Web Push messages from this ntfy topic URL instead
    /// (`UnifiedPush`)
    #[arg(long, value_name = "URL", conflicts_with = "poll")]
    web_push: Option<String>,
    /// The only CA to trust for the push service, PEM [default: the system's]
    #[arg(long, value_name = "FILE", requires = "web_push")]
    web_push_ca: Option<PathBuf>,
    /// Print JSON for programs, one event a line
    #[arg(long, conflicts_with = "color")]
    json: bool,
    /// When to use colours
    #[arg(long, value_enum, default_value_t)]
    color: Color,
    /// Ends when standard input closes.
    #[arg(long, hide = true)]
    with_parent: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Say {
    /// Approve
    Approve,
    /// Decline
    Decline,
    /// Ask in the terminal: yes, no, or "not me"
    #[default]
    Ask,
}

impl Run {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut device = Device::open(&PhoneFile::at(&self.file))?;
        device.listen(if self.poll { Listen::Poll } else { Listen::Channel });
        device.prefer_codes(self.code);
        device.prefer_links(self.links);
        device.restrict_fetches(FetchPolicy::allowing(self.allow_fetch));
        device.allow_sha1(self.allow_sha1);
        device.report_devices(true);
        let paint = Paint::new(self.color);
        if !self.json {
            let phone = device.phone();
            let (serial, user) = (&phone.serial_number, display::line(&phone.user));
            let server = display::line(&phone.server);
            answer::line(&format!("Device {serial} of {user}, at {server}"))?;
        }
        let (wakes, woken) = mpsc::unbounded_channel();
        let receiver = match &self.web_push {
            None => None,
            Some(base) => {
                let receiver = Receiver::at(base, self.web_push_ca.as_deref())?;
                let stream = receiver.register(&device).await?;
                device.listen_for_wakes(woken);
                Some((receiver, stream))
            }
        };
        let hearing = async {
            match receiver {
                None => std::future::pending().await,
                Some((receiver, stream)) => {
                    let mut tell = saying(self.json, paint);
                    receiver.check(stream, &wakes, |wake| tell(&DeviceEvent::woken(wake))).await;
                }
            }
        };
        let running = Running { answer: self.answer.answer(), pin: self.pin, count: self.count };
        let running = run(&mut device, running, telling(self.json, paint));
        let running = async {
            tokio::select! {
                ended = running => ended,
                () = hearing => unreachable!("the device listens for as long as it runs"),
            }
        };
        if !self.with_parent {
            running.await?;
            return Ok(());
        }
        tokio::select! {
            ended = running => ended.map(drop).map_err(Into::into),
            () = parent::gone() => anyhow::bail!("the process that started the device has ended"),
        }
    }
}

impl Say {
    /// The same answer for the SDK.
    pub(super) fn answer(self) -> Answer {
        match self {
            Self::Approve => Answer::Approve,
            Self::Decline => Answer::Decline,
            Self::Ask => Answer::Ask(asking()),
        }
    }
}

/// Prints the events of a device.
pub(super) fn telling(json: bool, paint: Paint) -> impl FnMut(Event<'_>) {
    let mut say = saying(json, paint);
    move |event| say(&DeviceEvent::from(&event))
}

fn saying(json: bool, paint: Paint) -> impl FnMut(&DeviceEvent) {
    move |said| {
        // The reader may have closed the output; signing does not depend on it.
        let _ = match serde_json::to_string(said) {
            Ok(line) if json => answer::line(&display::json(&line)),
            _ => said.lines(paint).iter().try_for_each(|line| answer::line(line)),
        };
    }
}

/// Asks in the terminal. One reader is used for all questions, so that no typed line is lost.
fn asking() -> countersign_device::Ask {
    let lines = Arc::new(Mutex::new(BufReader::new(tokio::io::stdin()).lines()));
    Box::new(move |shown| {
        let (lines, needs_code) = (Arc::clone(&lines), shown.needs_match_code());
        Box::pin(async move { ask(&mut *lines.lock().await, needs_code).await })
    })
}

async fn ask(lines: &mut Lines<BufReader<Stdin>>, needs_code: bool) -> Choice {
    loop {
        let Some(line) = typed(lines, "Sign? (y)es, (n)o, or \"not me\": ").await else {
            return Choice::Leave;
        };
        match Word::of(&line) {
            Some(Word::Yes) if needs_code => {
                let code = typed(lines, "The code that the application shows: ").await;
                let Some(code) = code else { return Choice::Leave };
                return Choice::Approve { match_code: Some(code.trim().to_owned()) };
            }
            Some(Word::Yes) => return Choice::Approve { match_code: None },
            Some(Word::No) => return Choice::Decline(DeclineReason::User),
            Some(Word::NotMe) => return Choice::Decline(DeclineReason::NotMe),
            None => {}
        }
    }
}

/// A typed line for this question, or `None` if the input has ended.
async fn typed(lines: &mut Lines<BufReader<Stdin>>, question: &str) -> Option<String> {
    loop {
        let _ = write!(io::stdout(), "{question}").and_then(|()| io::stdout().flush());
        let asked = Instant::now();
        let line = lines.next_line().await.ok()??;
        if asked.elapsed() >= TOO_SOON || !io::stdin().is_terminal() {
            return Some(line);
        }
    }
}

/// The possible answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Word {
    Yes,
    No,
    NotMe,
}

impl Word {
    /// Only an unambiguous answer; otherwise the question is asked again.
    fn of(line: &str) -> Option<Self> {
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => Some(Self::Yes),
            "n" | "no" => Some(Self::No),
            "not me" | "not-me" | "notme" => Some(Self::NotMe),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (typed, word) in [
            ("y", Some(Word::Yes)),
            (" Yes \r", Some(Word::Yes)),
            ("n", Some(Word::No)),
            ("NOT ME", Some(Word::NotMe)),
            ("", None),
            ("yy", None),
            ("y n", None),
            ("not", None),
        ] {
            assert_eq!(Word::of(typed), word, "{typed:?}");
        }
    }
}
