//! The actions of a simulation. A seed makes them before the run. Every list of them is valid, so a failing list can shrink.

use super::common::{Cut, Rng};

/// One action. A device is the number of its [`Action::Connect`]. An action on an absent device has no effect.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Lets milliseconds pass.
    Wait(u64),
    /// Stops the gateway's process for milliseconds (SIGSTOP).
    Jump(u64),
    Connect(Profile),
    Say(usize, What),
    /// Half-closes the stream of a device.
    HalfClose(usize),
    Reset(usize),
    /// Lets a device vanish without FIN or RST.
    Vanish(usize),
    /// Lets a device begin or stop answering beats.
    Answer(usize, bool),
    /// Lets a device begin or stop reading.
    Read(usize, bool),
    /// Sends a command of this number of bytes.
    Command(usize, By, usize),
    /// The application submits a command and awaits its end.
    Submit(Submit),
    /// Removes devices.
    Remove(usize, By),
    /// Sends this number of probes from one address.
    Probe(u8, usize),
    /// Applies other settings.
    Reload(Reload),
    /// Limits the streams that the process may open beyond the open ones, or removes the limit.
    Descriptors(Option<usize>),
    /// Connects a local process, which has a number too.
    ConnectLocal,
    /// Lets a local process begin or stop reading.
    ReadLocal(usize, bool),
    /// Ends a local process.
    ResetLocal(usize),
    /// Stops the gateway.
    Stop,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    pub(crate) number: usize,
    pub(crate) latency_ms: u64,
    pub(crate) cut: Cut,
    pub(crate) window: usize,
    pub(crate) short_writes: bool,
    pub(crate) answers: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reload {
    pub(crate) interval_ms: u64,
    pub(crate) credit: u8,
    /// `commands.gap`
    pub(crate) gap_ms: u64,
    /// Another value than at the start.
    pub(crate) connections_max: Option<usize>,
    /// Only in runs with a small budget.
    pub(crate) memory_budget: Option<u64>,
    /// The oldest connection keeps its name.
    pub(crate) oldest: bool,
    /// The number of a block of addresses that may no longer connect.
    pub(crate) denied: Option<u8>,
}

/// A command whose end the application wants to hear.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Submit {
    pub(crate) number: usize,
    /// By the name that the device has claimed, if it has.
    pub(crate) by_name: bool,
    pub(crate) bytes: usize,
    /// Milliseconds for which it awaits the next object as an answer.
    pub(crate) answer_ms: Option<u64>,
    /// Milliseconds for which it may wait for its name.
    pub(crate) queue_ms: Option<u64>,
}

/// How the application names a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum By {
    Id,
    Address,
    Ip,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// Small objects in one send.
    Objects(usize),
    /// One object: its bytes, the bytes of each piece, and the milliseconds before each piece.
    Picture(usize, usize, u64),
    /// This number of objects, one a second.
    Steady(usize),
    Heartbeats(usize),
    /// An object that claims the name of this number.
    Named(usize),
    /// Objects to be refused, of this kind.
    Rejected(usize, usize),
    Padding(usize),
    /// Bytes that must not stand between objects.
    Garbage,
    /// An object that is too long.
    Huge,
    /// This number of bytes of an object without an end.
    Begin(usize),
    /// The same, at one byte a second.
    Trickle,
}

/// The `object_bytes_max` of the simulated gateway.
pub(crate) const OBJECT_BYTES_MAX: usize = 32_000;
/// Names that devices claim.
const NAMES: usize = 15;
/// Actions speak of the devices that came last. The older ones are left to themselves.
const RECENT: usize = 150;

/// The lives of some hundred devices, or a few moments of thousands.
pub(crate) fn generate(seed: u64, crowd: bool) -> Vec<Action> {
    let mut rng = Rng::new(seed);
    let (count, at_first, devices) = if crowd { (4500, 2000 + rng.below(2000), 4000) } else { (1500, 30, 400) };
    let mut actions = Vec::with_capacity(count);
    // A seed may prefer some actions.
    let (mischief, hurry) = (1 + rng.below(10), 20 + rng.below(400));
    let (mut connected, mut locals) = (0, 0);
    for number in 0..count {
        let who = connected - 1usize.min(connected) - rng.below(connected.clamp(1, RECENT));
        let action = match rng.below(100) {
            _ if connected < at_first || (number % 8 == 0 && connected < devices) => {
                connected += 1;
                Action::Connect(nature(&mut rng, connected - 1, mischief))
            }
            0..40 => Action::Say(who, random_input(&mut rng, mischief)),
            40..48 => Action::Submit(submit(&mut rng, who)),
            48..58 => Action::Command(who, by(&mut rng), 1 + up_to(&mut rng, &[20, 300, 4000])),
            58..82 => Action::Wait(up_to(&mut rng, &[hurry, hurry, hurry, 10 * hurry]) as u64),
            82..85 => Action::Read(who, rng.chance(60)),
            85..87 => Action::Answer(who, rng.chance(50)),
            87..89 => Action::Probe(rng.below(4) as u8, 1 + rng.below(80)),
            89 => Action::Remove(who, by(&mut rng)),
            // Often with an object that arrives at the same time.
            number @ (90 | 91) => {
                if rng.chance(60) {
                    actions.push(Action::Say(who, What::Objects(1 + rng.below(3))));
                }
                if number == 90 { Action::HalfClose(who) } else { Action::Reset(who) }
            }
            92 => local(&mut rng, &mut locals),
            93 if rng.chance(mischief * 3) => Action::Reload(reload(&mut rng)),
            94 if rng.chance(mischief * 5) => {
                let (seconds, room) = (up_to(&mut rng, &[1_000, 8_000]) as u64, rng.below(3));
                actions.push(Action::Descriptors(Some(room)));
                for _ in 0..rng.below(20) {
                    connected += 1;
                    actions.push(Action::Connect(nature(&mut rng, connected - 1, mischief)));
                }
                actions.push(Action::Wait(seconds));
                Action::Descriptors(None)
            }
            95 if rng.chance(mischief * 5) => Action::Vanish(who),
            97 if rng.chance(mischief * 5) => {
                // Sends and never reads: alive, but stalled when its path is full.
                actions.push(Action::Say(who, What::Steady(45)));
                actions.push(Action::Read(who, false));
                actions.push(Action::Command(who, By::Id, 2800));
                Action::Command(who, By::Id, 2800)
            }
            98 => Action::Wait(up_to(&mut rng, &[5_000, 20_000]) as u64),
            96 if rng.chance(mischief * 2) => Action::Jump(up_to(&mut rng, &[1_000, 5_000, 40_000]) as u64),
            _ => Action::Wait(rng.below(100) as u64),
        };
        actions.push(action);
    }
    if rng.chance(50) {
        let at = actions.len() - 1 - rng.below(30);
        actions.insert(at, Action::Stop);
    }
    actions
}

fn local(rng: &mut Rng, locals: &mut usize) -> Action {
    match rng.below(6) {
        0..2 if *locals < 8 => {
            *locals += 1;
            Action::ConnectLocal
        }
        5 if rng.chance(20) => Action::ResetLocal(rng.below((*locals).max(1))),
        _ => Action::ReadLocal(rng.below((*locals).max(1)), rng.chance(50)),
    }
}

fn submit(rng: &mut Rng, number: usize) -> Submit {
    Submit {
        number,
        by_name: rng.chance(70),
        bytes: 1 + up_to(rng, &[20, 300, 1500]),
        answer_ms: rng.chance(60).then(|| up_to(rng, &[500, 5_000, 60_000]) as u64),
        queue_ms: rng.chance(70).then(|| up_to(rng, &[1_000, 60_000]) as u64),
    }
}

fn reload(rng: &mut Rng) -> Reload {
    Reload {
        interval_ms: *rng.pick(&[2_000, 2_000, 500, 5_000]),
        credit: *rng.pick(&[5, 5, 3, 10]),
        gap_ms: *rng.pick(&[0, 0, 200]),
        connections_max: rng.chance(30).then(|| 1 + rng.below(300)),
        memory_budget: rng.chance(50).then(|| *rng.pick(&[64 << 10, 150 << 10, 2 << 20])),
        oldest: rng.chance(30),
        denied: rng.chance(40).then(|| rng.below(9) as u8),
    }
}

fn nature(rng: &mut Rng, number: usize, mischief: usize) -> Profile {
    Profile {
        number,
        latency_ms: *rng.pick(&[0, 1, 5, 5, 30, 200]),
        cut: *rng.pick(&[Cut::Whole, Cut::Whole, Cut::Anywhere, Cut::Every(1448), Cut::Every(3)]),
        window: *rng.pick(&[64 << 10, 64 << 10, 2000, 50]),
        short_writes: rng.chance(mischief * 3),
        answers: !rng.chance(mischief),
    }
}

/// Returns a number below one of these bounds, to try small and large numbers.
fn up_to(rng: &mut Rng, bounds: &[usize]) -> usize {
    let bound = *rng.pick(bounds);
    rng.below(bound)
}

fn by(rng: &mut Rng) -> By {
    *rng.pick(&[By::Id, By::Id, By::Address, By::Ip])
}

fn random_input(rng: &mut Rng, mischief: usize) -> What {
    if rng.chance(mischief) {
        return match rng.below(12) {
            0 => What::Garbage,
            1 => What::Huge,
            2 => What::Begin(1 + rng.below(3000)),
            3 => What::Trickle,
            4..6 => What::Heartbeats(1 + rng.below(300)),
            _ => What::Rejected(rng.below(6), 1 + up_to(rng, &[3, 18])),
        };
    }
    match rng.below(12) {
        10.. => What::Named(rng.below(NAMES)),
        0..6 => What::Objects(1 + up_to(rng, &[2, 2, 20])),
        6 => What::Picture(64 + rng.below(OBJECT_BYTES_MAX - 63), 1 + rng.below(40_000), rng.below(30) as u64),
        7 => What::Picture(64 + rng.below(2000), 50 + rng.below(400), rng.below(1200) as u64),
        8 => What::Padding(1 + rng.below(300)),
        _ => What::Heartbeats(1),
    }
}
