//! A state transform: settings.conf of schema 1 has interval=SECONDS, that of
//! schema 2 has interval_ms=MILLISECONDS.
use std::io::{self, BufRead, BufWriter, Write};
use std::process::exit;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let up = match (args.get(1).map(String::as_str), args.get(2).map(String::as_str)) {
        (Some("1"), Some("2")) => true,
        (Some("2"), Some("1")) => false,
        _ => refuse("no such way"),
    };
    let mut out = BufWriter::new(io::stdout());
    let mut found = false;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split_once('=') {
            Some(("interval", value)) if up => {
                writeln!(out, "interval_ms={}", number(value, LONGEST) * 1000)?;
                found = true;
            }
            Some(("interval_ms", value)) if !up => {
                let ms = number(value, LONGEST * 1000);
                if ms % 1000 != 0 {
                    refuse(&format!("no whole seconds: {}", value));
                }
                writeln!(out, "interval={}", ms / 1000)?;
                found = true;
            }
            _ => writeln!(out, "{}", line)?,
        }
    }
    if !found {
        refuse("there is no interval");
    }
    out.flush()
}

/// An interval in seconds: what has more has no way back.
const LONGEST: u64 = 1_000_000_000;

fn number(value: &str, most: u64) -> u64 {
    match value.parse::<u64>() {
        Ok(n) if n <= most => n,
        _ => refuse(&format!("no interval: {}", value)),
    }
}

/// Ends the transform: this is not the state that it knows.
fn refuse(why: &str) -> ! {
    eprintln!("{}", why);
    exit(2)
}
