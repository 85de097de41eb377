//! What operators ask of a running heald. Their orders go through the same guard and the same record as heald's own decisions.
//!
//! The first half of this file runs where somebody asks: it finds the service, tells its task, and waits for the answer. The second
//! half runs in the service's task, so that an order has its turn like everything else that is done to a service.

use std::sync::Arc;
use std::time::Duration;

use heald_model::{
    Class, Desired, Ending, Entry, Moment, Offer, Order, OrderError, OrderOutcome, Outcome, Proposal, Record,
    ServiceName, ServiceStatus, Source,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::context::{Context, Rest};
use crate::guard::{self, Judgement, Permit};
use crate::incidents;
use crate::ports::ActionError;
use crate::prove;
use crate::remediate;
use crate::service::Service;
use crate::service::inbox::{News, WaitingOrder};

/// So long an operator's order waits for its turn. What is under way may take the whole of its verify window; a person should not
/// have to wait for that.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waits for a moment rather than for a turn is judged again this often.
const AGAIN: Duration = Duration::from_secs(5);

/// A running heald, as its operators see it.
#[derive(Clone)]
pub struct Operator(Arc<Context>);

impl Operator {
    pub(crate) fn of(ctx: &Arc<Context>) -> Self {
        Self(Arc::clone(ctx))
    }

    /// Every service, by name.
    pub fn services(&self) -> Vec<ServiceStatus> {
        self.0.services.all().iter().map(|service| status(&self.0, service)).collect()
    }

    /// Every action that exists for a service, with the service.
    pub fn offers(&self) -> Vec<(ServiceName, Offer)> {
        let services = self.0.services.all().into_iter().map(|service| service.name.clone());
        let of = |name: ServiceName| {
            let offers = self.0.ports.actions.offers(&name);
            offers.into_iter().map(move |offer| (name.clone(), offer)).collect::<Vec<_>>()
        };
        services.flat_map(of).collect()
    }

    /// Carries an order out when its turn comes, and returns when the action has claimed success.
    ///
    /// # Errors
    /// When there is no such service or action, the guard withholds it, its turn does not come in time, or the action fails.
    pub async fn order(&self, order: Order) -> Result<OrderOutcome, OrderError> {
        let ctx = Arc::clone(&self.0);
        see_through(async move { self::order(&ctx, order).await }).await
    }

    /// Replaces one copy that lost its output or runs with an old configuration: heald's own order, under every rule. What the
    /// guard makes wait is judged again, for as long as it takes.
    ///
    /// # Errors
    /// When the service or the action is not there, the guard refuses it, or the restart fails.
    pub async fn replace(&self, name: &ServiceName, replica: u32) -> Result<OrderOutcome, OrderError> {
        let service = find(&self.0, name)?;
        let parameters = json!({ "replica": replica });
        let action = "restart".to_owned();
        let order = Order { service: name.clone(), action, parameters, by: String::new(), force: false };
        tell(&service, order, Source::Native, true).await.unwrap_or_else(|_| Err(ended(name)))
    }

    /// Sets what is wanted of a service, durably, and sees to it.
    ///
    /// # Errors
    /// When there is no such service, the wish cannot be kept, or what it takes cannot be done.
    pub async fn set_desired(&self, name: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError> {
        let (ctx, name, by) = (Arc::clone(&self.0), name.clone(), by.to_owned());
        see_through(async move { self::set_desired(&ctx, &name, desired, &by).await }).await
    }

    /// Forgets back-off, start limit, cooldowns and exhausted attempts of a service.
    ///
    /// # Errors
    /// When there is no such service.
    pub async fn reset(&self, name: &ServiceName, by: &str) -> Result<(), OrderError> {
        let service = find(&self.0, name)?;
        let (reply, done) = oneshot::channel();
        service.inbox.tell(News::Reset { by: by.to_owned(), reply });
        done.await.map_err(|_| ended(name))
    }

    /// Allows the next disruptive action of a service whose mode is `approve`.
    ///
    /// # Errors
    /// When there is no such service, or it has no open incident.
    pub async fn approve(&self, name: &ServiceName, by: &str) -> Result<(), OrderError> {
        let service = find(&self.0, name)?;
        let (reply, done) = oneshot::channel();
        service.inbox.tell(News::Approve { by: by.to_owned(), reply });
        done.await.unwrap_or_else(|_| Err(ended(name)))
    }

    /// Halts (true) or resumes (false) all healing, durably: the kill switch. Resuming ends what is held because too many services
    /// fell ill at once, too.
    ///
    /// # Errors
    /// When it cannot be kept. It holds all the same, until heald ends.
    pub async fn halt(&self, halted: bool, by: &str) -> Result<(), OrderError> {
        let ctx = &self.0;
        let kept = ctx.ports.desired_states.set_halted(halted).await;
        if !halted {
            ctx.outage().end();
        }
        let text = format!("{by} {} all healing", if halted { "halted" } else { "resumed" });
        tracing::warn!("{text}");
        ctx.journal(vec![Entry::of_heald(ctx.now(), Record::Note { text })]);
        ctx.wake_all();
        Ok(kept?)
    }

    /// Whether all healing is stopped.
    pub fn is_halted(&self) -> bool {
        self.0.is_halted()
    }
}

/// Runs what was begun to its end, even if whoever asked goes away meanwhile: half an order is worse than none.
async fn see_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, OrderError>> + Send + 'static,
) -> Result<T, OrderError> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(OrderError::Failed(error.to_string())))
}

fn status(ctx: &Context, service: &Service) -> ServiceStatus {
    let (spec, snapshot) = (service.spec(), service.snapshot());
    ServiceStatus {
        name: service.name.clone(),
        up: snapshot.up,
        breaker: ctx.ports.probes.breaker(&service.name),
        desired: ctx.desired(service),
        mode: spec.mode,
        processes: ctx.ports.processes.of(&service.name),
        incidents: snapshot.open,
        depends_on: spec.depends_on.clone(),
        tags: spec.tags.clone(),
    }
}

/// Carries an order out when its turn comes, and returns when the action has claimed success.
///
/// # Errors
/// When there is no such service or action, the guard withholds it, its turn does not come in time, or the action fails.
async fn order(ctx: &Context, order: Order) -> Result<OrderOutcome, OrderError> {
    let source = Source::Operator(order.by.clone());
    let service = find(ctx, &order.service)?;
    let answer = tell(&service, order, source, false);
    tokio::select! {
        biased;
        answer = answer => answer.unwrap_or_else(|_| Err(ended(&service.name))),
        () = ctx.ports.clock.sleep_until(ctx.now() + PATIENCE) => {
            let why = "its turn did not come in time: another action is not settled yet".to_owned();
            Err(OrderError::Withheld { rule: guard::IN_FLIGHT.to_owned(), why })
        }
    }
}

/// Sets what is wanted of a service, durably, and sees to it.
///
/// # Errors
/// When there is no such service, the wish cannot be kept, or what it takes cannot be done.
async fn set_desired(ctx: &Context, name: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError> {
    let service = find(ctx, name)?;
    if desired == Desired::Stopped && !service.spec().supervised {
        let why = format!("heald does not run {name}, so it cannot stop it; `heald pause {name}` leaves it alone");
        return Err(OrderError::NothingToDo(why));
    }
    let before = ctx.ports.desired_states.desired(name);
    ctx.ports.desired_states.set_desired(name, desired).await?;
    let record = Record::DesiredChanged { desired, by: by.to_owned() };
    ctx.journal(vec![Entry::of_service(ctx.now(), name.clone(), record)]);
    tracing::info!(service = %name, "{by} wants it {desired}");
    ctx.ports.probes.hold(name, desired == Desired::Stopped);
    service.inbox.tell(News::Desired);
    let action = match (before, desired) {
        (_, Desired::Stopped) => Some("stop"),
        (Desired::Stopped, Desired::Running) => Some("start"),
        // What ended for good, or waits out a back-off, is started on the operator's word.
        (Desired::Running, Desired::Running) if ctx.has_died(&service) || ctx.has_finished(&service) => Some("start"),
        _ => None,
    };
    if let Some(action) = action.filter(|_| service.spec().supervised) {
        let parameters = Value::Null;
        let action = action.to_owned();
        // What the operator wants was said a moment ago; it needs no second word.
        let order = Order { service: name.clone(), action, parameters, by: by.to_owned(), force: true };
        self::order(ctx, order).await?;
    }
    if desired == Desired::Stopped {
        incidents::close_all(ctx, &service, "an operator wants it stopped");
    }
    service.inbox.tell(News::Desired);
    Ok(())
}

fn find(ctx: &Context, name: &ServiceName) -> Result<Arc<Service>, OrderError> {
    ctx.services.get(name).ok_or_else(|| OrderError::NoService(name.clone()))
}

fn tell(
    service: &Service,
    order: Order,
    source: Source,
    patient: bool,
) -> oneshot::Receiver<Result<OrderOutcome, OrderError>> {
    let (reply, answer) = oneshot::channel();
    service.inbox.tell(News::Order(WaitingOrder { order, source, patient, reply }));
    answer
}

fn ended(name: &ServiceName) -> OrderError {
    OrderError::NoService(name.clone())
}

/// The service's task hears of a reset.
pub(crate) fn heard_reset(ctx: &Context, service: &Service, by: &str) {
    let (now, record) = (ctx.now(), Record::Reset { by: by.to_owned() });
    let mut state = service.lock();
    // The incidents that may come back are reset, too.
    let known: Vec<_> = state.incidents.keys().copied().collect();
    let of_all = Entry::of_service(now, service.name.clone(), record.clone());
    let of_each = known.into_iter().map(|id| Entry::of_incident(now, service.name.clone(), id, record.clone()));
    let entries = std::iter::once(of_all).chain(of_each).collect();
    ctx.enter(&mut state, entries);
    state.generation += 1;
}

/// The service's task hears of an approval.
///
/// # Errors
/// When there is nothing to approve.
pub(crate) fn heard_approval(ctx: &Context, service: &Service, by: &str) -> Result<(), OrderError> {
    let mut state = service.lock();
    let Some(incident) = state.leading().map(|incident| incident.id) else {
        let name = &service.name;
        return Err(OrderError::NothingToDo(format!("{name} has no open incident to approve an action for")));
    };
    state.approved = Some(incident);
    state.generation += 1;
    let record = Record::Note { text: format!("operator {by} approved the next action") };
    ctx.enter(&mut state, vec![Entry::of_incident(ctx.now(), service.name.clone(), incident, record)]);
    Ok(())
}

/// What became of looking at the orders.
pub(crate) enum Turn {
    /// This order is admitted.
    Carry(Box<WaitingOrder>, Box<Permit>),
    /// One was answered; there may be more.
    Answered,
    /// None can go on before this.
    Wait(Rest),
}

/// Judges the order whose turn it is.
pub(crate) fn take_order(ctx: &Context, service: &Service) -> Turn {
    let waiting = {
        let mut state = service.lock();
        // Nobody waits any more for an order whose asker went away before it began.
        state.orders.retain(|waiting| !waiting.reply.is_closed());
        state.orders.pop_front()
    };
    let Some(waiting) = waiting else { return Turn::Wait(Rest::until(Moment::NEVER)) };
    let order = &waiting.order;
    let offers = ctx.ports.actions.offers(&service.name);
    let Some(offer) = offers.iter().find(|offer| offer.action.name == order.action) else {
        tracing::error!(service = %service.name, "Unknown action received: {}", order.action);
        let refusal = unknown(order.action.clone(), &offers);
        let _ = waiting.reply.send(Err(refusal));
        return Turn::Answered;
    };
    let parameters = if order.parameters.is_null() { json!({}) } else { order.parameters.clone() };
    let proposal = Proposal { action: order.action.clone(), parameters, verify_within: None };
    let incident = service.lock().leading().cloned();
    let source = waiting.source.clone();
    let draft = remediate::draft(ctx, service, incident.as_ref(), &proposal, offer.action.disruptive, source);
    match remediate::judge(ctx, service, incident.as_ref(), draft, order.force) {
        Judgement::Admit(permit, _) => Turn::Carry(Box::new(waiting), Box::new(permit)),
        Judgement::Hold(hold) => {
            let its_turn = hold.rule == guard::BUDGET || hold.rule == guard::IN_FLIGHT;
            match hold.until.filter(|_| waiting.patient || its_turn) {
                None => {
                    let _ = waiting.reply.send(Err(OrderError::Withheld { rule: hold.rule.to_owned(), why: hold.why }));
                    Turn::Answered
                }
                Some(until) => {
                    service.lock().orders.push_front(waiting);
                    Turn::Wait(Rest { until: until.min(ctx.now() + AGAIN), for_budget: true, for_look: true })
                }
            }
        }
    }
}

/// Carries an admitted order out, and answers whoever asked as soon as the action has claimed success.
pub(crate) async fn carry_out(ctx: &Context, service: &Service, waiting: WaitingOrder, permit: Permit) {
    let intent = permit.intent().clone();
    if remediate::intend(ctx, service, &permit).await.is_err() {
        let why = "the journal cannot be written".to_owned();
        let _ = waiting.reply.send(Err(OrderError::Withheld { rule: "journal".to_owned(), why }));
        return;
    }
    let receipt = match remediate::perform(ctx, service, permit).await {
        Ok(receipt) => receipt,
        Err(error) => {
            let offers = ctx.ports.actions.offers(&service.name);
            let _ = waiting.reply.send(Err(match error {
                ActionError::Unknown(action) => unknown(action, &offers),
                ActionError::BadParameters(why) => OrderError::BadParameters(why),
                ActionError::Failed(why) => OrderError::Failed(why),
            }));
            return;
        }
    };
    let outcome = OrderOutcome { intent: intent.clone(), summary: receipt.summary.clone(), outcome: None };
    let unproved = intent.class == Class::Message || ctx.desired(service) == Desired::Stopped;
    if unproved {
        prove::settle(ctx, service, &intent, Ending::Verified(Outcome::Unknown));
    }
    let _ = waiting.reply.send(Ok(outcome));
    if !unproved {
        // The proof comes from samples, in its own time; whoever asked need not wait for it.
        prove::verify(ctx, service, &intent, Some(&receipt)).await;
    }
}

fn unknown(action: String, offers: &[Offer]) -> OrderError {
    OrderError::NoAction { action, offered: offers.iter().map(|offer| offer.action.name.clone()).collect() }
}
