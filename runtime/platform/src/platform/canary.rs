//! Judges canaries: one that fails or disagrees beyond its budget is rolled back, one that agrees for long enough is promoted. Both
//! happen without an operator, are recorded in the journal, and outlive a restart.

use std::sync::Arc;
use std::time::Duration;

use heald_host::CanaryConfig;
use heald_model::Agreement;

use super::Platform;
use crate::overrides::OverrideKind;
use crate::registry::{RegisteredPlugin, Use};

/// The longest time between two judgements when nothing is compared.
const PERIOD: Duration = Duration::from_secs(5);

/// The result of a judgement.
#[derive(Clone, Debug, PartialEq)]
enum CanaryVerdict {
    /// The trial goes on.
    Wait,
    /// The canary is rolled back.
    RollBack(String),
    /// The canary replaces the plug-in it was compared with.
    Promote,
}

/// Judges a canary. `faults` counts those of all its calls, in the trial and outside it.
fn judge(budget: CanaryConfig, agreement: &Agreement, faults: u64) -> CanaryVerdict {
    if faults > budget.faults {
        return CanaryVerdict::RollBack(format!(
            "it failed {}, and its budget allows {}",
            times(faults),
            budget.faults
        ));
    }
    let share = agreement.disagreement();
    if agreement.compared >= budget.after.max(1) && share > budget.disagreement {
        let (differed, of) = (agreement.disagreed, agreement.compared);
        let (share, bound) = (share * 100.0, budget.disagreement * 100.0);
        return CanaryVerdict::RollBack(format!(
            "{differed} of {of} answers differed ({share:.0} %), and its budget allows {bound:.0} %"
        ));
    }
    if budget.promote_after > 0 && agreement.compared >= budget.promote_after {
        return CanaryVerdict::Promote;
    }
    CanaryVerdict::Wait
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

impl Platform {
    /// Judges canaries whenever answers were compared or a call failed, for as long as heald runs.
    pub(super) async fn judge_trials(self: Arc<Self>) {
        let Some(ports) = self.ports.get() else { return };
        let mut judged = ports.healer.plugins().trials_judged();
        loop {
            judged.mark_unchanged();
            for (name, registered) in self.registry() {
                if registered.used() != Use::Canary {
                    continue;
                }
                match self.verdict(&registered) {
                    CanaryVerdict::Wait => {}
                    CanaryVerdict::RollBack(why) => self.roll_back(&registered, why).await,
                    CanaryVerdict::Promote => {
                        if let Err(error) =
                            self.promote_this(name.as_str(), "heald", Some(&registered.reference())).await
                        {
                            tracing::error!(plugin = %name, "the canary cannot be promoted: {error}");
                        }
                    }
                }
            }
            // Only the plug-in counts an action's faults, and wakes nobody: hence the time-out.
            if let Ok(Err(_)) = tokio::time::timeout(PERIOD, judged.changed()).await {
                return;
            }
        }
    }

    fn verdict(&self, registered: &RegisteredPlugin) -> CanaryVerdict {
        let trial = self.ports.get().and_then(|ports| ports.healer.plugins().trial(&registered.table.name));
        let agreement = trial.map(|trial| trial.agreement).unwrap_or_default();
        let faults = registered.plugin.as_ref().map_or(0, |plugin| plugin.stats().faults.values().sum());
        judge(registered.table.canary, &agreement, faults.max(agreement.faulted))
    }

    async fn roll_back(&self, registered: &RegisteredPlugin, why: String) {
        let _turn = self.changing.lock().await;
        let mut registry = self.registry();
        let name = &registered.table.name;
        // It may have been reloaded or removed while this waited for the lock.
        let Some(mut candidate) = registry.get(name).filter(|now| now.reference() == registered.reference()).cloned()
        else {
            return;
        };
        candidate.decide(OverrideKind::RolledBack, "heald", self.now(), &why);
        tracing::error!(plugin = %name, "the canary is rolled back: {why}");
        if let Err(error) = self.commit(&mut registry, candidate, "rolled-back", "heald", why).await {
            tracing::error!(plugin = %name, "the canary cannot be rolled back: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement(compared: u64, disagreed: u64) -> Agreement {
        Agreement { compared, disagreed, agreed: compared - disagreed, ..Agreement::default() }
    }

    #[test]
    fn faults_beyond_the_budget_take_it_back_at_once() {
        let budget = CanaryConfig { faults: 2, ..CanaryConfig::default() };
        assert_eq!(judge(budget, &agreement(0, 0), 2), CanaryVerdict::Wait);
        assert!(matches!(judge(budget, &agreement(0, 0), 3), CanaryVerdict::RollBack(_)));
    }

    #[test]
    fn disagreement_counts_once_enough_was_compared() {
        let budget = CanaryConfig { disagreement: 0.1, after: 20, promote_after: 100, ..CanaryConfig::default() };
        assert_eq!(judge(budget, &agreement(19, 19), 0), CanaryVerdict::Wait);
        assert_eq!(judge(budget, &agreement(20, 2), 0), CanaryVerdict::Wait);
        assert!(matches!(judge(budget, &agreement(20, 3), 0), CanaryVerdict::RollBack(_)));
        assert_eq!(judge(budget, &agreement(100, 10), 0), CanaryVerdict::Promote);
        assert!(matches!(judge(budget, &agreement(100, 11), 0), CanaryVerdict::RollBack(_)));
    }

    #[test]
    fn without_a_number_only_an_operator_promotes() {
        let budget = CanaryConfig { promote_after: 0, ..CanaryConfig::default() };
        assert_eq!(judge(budget, &agreement(1_000_000, 0), 0), CanaryVerdict::Wait);
    }
}
