//! Both ends of Web Push's encryption, to compare with another implementation. Reads and writes one
//! line at a time:
//!
//! ```text
//! in   a subscription, as a browser writes it
//! in   a text
//! out  the message, base64
//! out  a subscription of this program
//! in   a message to it, base64
//! out  its text
//! ```

use std::error::Error;
use std::io::{BufRead as _, Write as _, stdin, stdout};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_wire::webpush::{Keys, Subscription, seal};

fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = stdin().lock().lines();
    let mut line = || lines.next().ok_or("a line is missing").map_err(Box::<dyn Error>::from);
    let mut out = stdout();

    let theirs = Subscription::from_json(&line()??).ok_or("the line is not a subscription")?;
    writeln!(out, "{}", BASE64.encode(seal(&theirs, line()??.as_bytes())))?;

    let keys = Keys::generate();
    writeln!(out, "{}", keys.subscription("https://push.example/ours".to_owned()).to_json())?;
    out.flush()?;
    let text = keys.open(&BASE64.decode(line()??)?)?;
    writeln!(out, "{}", String::from_utf8(text.to_vec())?)?;
    Ok(())
}
