//! Gives damaged samples to a property, and watches what it does with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oss_client::clock::{Clock, SystemClock};

use crate::inputs::corpus;
use crate::memory::peak_of;
use crate::mutation::{Corpus, Dice};
use crate::parsers::Parser;

/// Inputs a parser is given by `make test`: well below a second in a debug build.
const INPUTS: u64 = 600;
/// An input takes no longer than this, nor more memory; the largest one has 64 KiB.
const LONGEST: Duration = Duration::from_secs(1);
const MOST_MEMORY_BYTES: usize = 64 << 20;
/// An input that takes this long will take for ever.
const ENDLESS: Duration = Duration::from_secs(20);

/// A parser, its samples, and the input that it is reading.
struct Trial {
    kind: String,
    corpus: Corpus,
    parser: Parser,
    present: Arc<Mutex<Vec<u8>>>,
}

/// Gives the parser `name` its samples as they are, and then damaged; every other one of these is sealed.
pub(crate) fn survive(name: &str, parser: Parser) {
    let kind = name.replace('_', "-");
    let present = Arc::new(Mutex::default());
    let trial = Trial { kind: kind.clone(), corpus: corpus(&kind), parser, present: Arc::clone(&present) };
    let (tell, told) = channel();
    #[expect(clippy::disallowed_methods, reason = "a thread that loops for ever is left behind")]
    let thread = std::thread::spawn(move || trial.run(&tell));
    loop {
        match told.recv_timeout(ENDLESS) {
            Ok(()) => (),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("{kind}: does not end: {}", kept(&kind, &present)),
        }
    }
    assert!(thread.join().is_ok(), "{kind}: not survived (above is why): {}", kept(&kind, &present));
}

impl Trial {
    fn run(&self, tell: &Sender<()>) {
        let taken = self.corpus.samples().filter(|sample| self.is_taken(sample)).count();
        assert!(taken > 0, "no sample of {} is taken: it proves nothing", self.kind);
        let (seed, end) = (seed(), SystemClock.now() + Duration::from_secs(seconds().unwrap_or(0)));
        let mut dice = Dice::new(seed ^ oss_protocol::crc64::crc64(self.kind.as_bytes()));
        let (mut inputs, mut taken) = (0, 0_u64);
        while inputs < INPUTS || SystemClock.now() < end {
            let mut input = self.corpus.damaged(&mut dice);
            if let Some(seal) = self.parser.seal.filter(|_| inputs % 2 == 0) {
                seal(&mut input);
            }
            taken += u64::from(self.is_taken(&input));
            inputs += 1;
            let _ = tell.send(());
        }
        println!("{}: {inputs} inputs survived, {taken} of them taken, seed {seed}", self.kind);
    }

    fn is_taken(&self, input: &[u8]) -> bool {
        input.clone_into(&mut self.present.lock().expect("nobody panics with it"));
        let begun = processor_time();
        let (taken, peak) = peak_of(|| (self.parser.property)(input));
        let took = processor_time() - begun;
        assert!(peak <= MOST_MEMORY_BYTES, "{peak} bytes of memory for an input of {}", input.len());
        assert!(took <= LONGEST, "an input of {} bytes takes {took:?}", input.len());
        taken
    }
}

/// What this thread had of a processor so far: other work of the machine takes none of it.
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number of nanoseconds"))
}

/// Keeps the input that was being read; says where, and how it begins.
fn kept(kind: &str, present: &Mutex<Vec<u8>>) -> String {
    let input = present.lock().expect("nobody panics with it");
    let name = format!("{kind}-{:016x}", oss_protocol::crc64::crc64(&input));
    let path: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let outcome = fs::write(&path, &*input);
    let start = input[..input.len().min(300)].escape_ascii();
    format!("{} ({outcome:?}), {} bytes: {start}", path.display(), input.len())
}

/// The same inputs each time, unless the time is given: then others each time.
fn seed() -> u64 {
    seconds().map_or(1, |_| u64::try_from(SystemClock.wall().0).unwrap_or(0))
}

#[expect(clippy::disallowed_methods, reason = "how long a run lasts is said by `make soak`")]
fn seconds() -> Option<u64> {
    std::env::var("OSS_MUTATION_SECONDS").ok()?.parse().ok()
}
