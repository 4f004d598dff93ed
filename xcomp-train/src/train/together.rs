//! What ranks agree on: lanes, where they begin, when they stop, and how they end.

use xcomp_data::Position;

use crate::error::Error;
use crate::machine::files::sha256;
use crate::machine::stop::Stop;
use crate::peers::Peers;
use crate::plan::Plan;
use crate::show::progress::say;
use crate::train::checkpoint::identity::Identity;
use crate::train::owners::told;

/// Whether the recipe's lanes fit the ranks.
///
/// # Errors
/// If they do not.
pub fn check_lanes(plan: &Plan, peers: &dyn Peers) -> Result<(), Error> {
    let (lanes, world) = (plan.recipe.train.lanes, peers.world());
    if lanes.is_multiple_of(world) {
        return Ok(());
    }
    let key = &plan.recipe.path.display();
    Err(Error::Argument(format!(
        "{key}: [train] lanes = {lanes} cannot be shared by {world} ranks; start a number of ranks that divides it"
    )))
}

/// Whether all ranks run the same thing from the same step, all on processors or all on other devices.
///
/// # Errors
/// If they do not.
pub fn agree(
    peers: &dyn Peers,
    identity: &Identity,
    step: usize,
    on_cpu: bool,
) -> Result<(), Error> {
    let identity = serde_json::to_vec(identity).expect("names and values are JSON");
    let all = told(peers, &(sha256(&identity), step, on_cpu));
    let differs = |what: &str, advice: &str| {
        Err(Error::Argument(format!("ranks have different {what}; {advice}")))
    };
    if all.iter().any(|other| other.0 != all[0].0) {
        return differs("recipes, mixtures or models", "do all machines see the same files?");
    }
    if all.iter().any(|other| other.1 != all[0].1) {
        return differs("checkpoints to go on from", "is --out on a disk that all of them share?");
    }
    if all.iter().any(|other| other.2 != all[0].2) {
        return differs(
            "kinds of devices",
            "name one by --device, and start as many ranks as a machine has cards",
        );
    }
    Ok(())
}

/// Why all ranks stop now, if one of them must: alone it would leave the others waiting, so they vote before each step.
pub(super) fn asked(peers: &dyn Peers, stop: &Stop, before_step: bool) -> Option<&'static str> {
    if peers.world() == 1 {
        return stop.asked();
    }
    if !before_step {
        return None;
    }
    let votes = told(peers, &stop.asked().map(str::to_owned));
    let why = votes.into_iter().flatten().next()?;
    Some(if why == "the budget" { "the budget" } else { "a signal" })
}

/// Where the run stands after a step in which this rank went from `before` to `after`.
pub(super) fn position(
    peers: &dyn Peers,
    start: &Position,
    before: &Position,
    after: &Position,
) -> Position {
    if peers.world() == 1 {
        return after.clone();
    }
    let own = [after.samples - before.samples, after.bad - before.bad, after.bad_in_a_row];
    let all: Vec<[u64; 3]> = told(peers, &own);
    Position {
        world: 1,
        samples: start.samples + all.iter().map(|counts| counts[0]).sum::<u64>(),
        bad: start.bad + all.iter().map(|counts| counts[1]).sum::<u64>(),
        bad_in_a_row: all.iter().map(|counts| counts[2]).max().unwrap_or(0),
        ..after.clone()
    }
}

/// How a run ends: where all ranks know of the end, together; where one fails alone, it takes the others with it.
///
/// # Errors
/// The error of the run.
pub fn end<T>(peers: &dyn Peers, result: Result<T, Error>) -> Result<T, Error> {
    if peers.world() == 1 {
        return result;
    }
    match &result {
        // Nobody leaves while rank 0 still saves: the launcher would end it.
        Ok(_) | Err(Error::Stopped { .. } | Error::NonFinite { .. }) => {
            peers.exchange(&[]);
            result
        }
        Err(error) => {
            say(&format!("error: rank {} of {}: {error}", peers.rank(), peers.world()));
            peers.abort(error.exit_code())
        }
    }
}
