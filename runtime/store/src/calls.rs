//! Recording calls to and from their rows. A call that cannot be read is reported and does not hide the others.

use std::io;

use heald_model::{CallInput, CallQuery, CallResult, NumberedCall, PluginCall, PluginSettings, SlotMode};
use heald_model::{IncidentId, Moment, PluginRef, ServiceName};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use uuid::Uuid;

use crate::blob::{Unreadable, cbor, from_cbor, pack, unpack};
use crate::row::{moment, wall};

/// A call that is packed and ready to be inserted.
#[derive(Debug)]
pub(crate) struct PackedCall {
    at: Moment,
    service: ServiceName,
    incident: Option<IncidentId>,
    plugin: PluginRef,
    settings: PluginSettings,
    part: SlotMode,
    replayable: bool,
    role: &'static str,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl PackedCall {
    pub(crate) fn of(call: PluginCall) -> io::Result<Self> {
        let PluginCall { at, service, incident, plugin, settings, part, replayable, asked, said } = call;
        let role = match asked {
            CallInput::Detector(_) => "detector",
            CallInput::Policy(_) => "policy",
        };
        let (input, output) = (pack(&cbor(&asked)?)?, pack(&cbor(&said)?)?);
        Ok(Self { at, service, incident, plugin, settings, part, replayable, role, input, output })
    }

    pub(crate) fn len(&self) -> usize {
        self.input.len() + self.output.len()
    }

    pub(crate) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO settings (digest, text, used) VALUES (?, ?, ?)
                 ON CONFLICT (digest) DO UPDATE SET used = max(used, excluded.used)",
            )?
            .execute(params![&*self.settings.digest, &*self.settings.text, wall(self.at)])?;
        connection
            .prepare_cached(
                "INSERT INTO calls (at, service, incident, plugin, version, digest, settings, part, replayable, role, input, output)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                wall(self.at),
                self.service.as_str(),
                self.incident.as_ref().map(|id| id.0.as_bytes()),
                self.plugin.name.as_str(),
                self.plugin.version,
                self.plugin.digest,
                &*self.settings.digest,
                word(self.part),
                self.replayable,
                self.role,
                self.input,
                self.output,
            ])?;
        Ok(())
    }
}

/// Records that configurations are still in use.
pub(crate) fn touch_settings(connection: &Connection, digests: &[String], at: Moment) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE settings SET used = max(used, ?) WHERE digest = ?")?;
    for digest in digests {
        statement.execute(params![wall(at), digest])?;
    }
    Ok(())
}

fn word(part: SlotMode) -> &'static str {
    match part {
        SlotMode::Active => "active",
        SlotMode::Shadow => "shadow",
    }
}

/// A kept call that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableCall {
    /// The number of the call.
    pub seq: u64,
    /// When the call was made.
    pub at: Moment,
    /// The plug-in.
    pub plugin: PluginRef,
    /// Why it cannot be read.
    pub why: String,
}

/// A page of kept calls, in the requested order.
#[derive(Clone, Debug, Default)]
pub struct CallPage {
    /// The calls that can be read.
    pub calls: Vec<NumberedCall>,
    /// The calls that cannot be read.
    pub unreadable: Vec<UnreadableCall>,
}

impl CallPage {
    /// Where the next page begins, as [`CallQuery::after`], if the oldest calls come first; `None` if this page is
    /// empty.
    pub fn next(&self) -> Option<u64> {
        let newest = self.calls.last().map(|numbered| numbered.seq);
        newest.max(self.unreadable.last().map(|unreadable| unreadable.seq))
    }
}

/// Reads one page of calls.
pub(crate) fn read(connection: &Connection, query: &CallQuery) -> rusqlite::Result<CallPage> {
    let mut conditions = vec!["seq > ?"];
    let mut values = vec![Value::from(crate::row::integer(query.after))];
    if let Some(incident) = &query.incident {
        conditions.push("incident = ?");
        values.push(Value::from(incident.0.as_bytes().to_vec()));
    }
    if let Some(plugin) = &query.plugin {
        conditions.push("plugin = ?");
        values.push(Value::from(plugin.as_str().to_owned()));
    }
    if let Some(service) = &query.service {
        conditions.push("service = ?");
        values.push(Value::from(service.as_str().to_owned()));
    }
    if let Some(since) = query.since {
        conditions.push("at >= ?");
        values.push(Value::from(wall(since)));
    }
    values.push(Value::from(query.limit));
    let sql = format!(
        "SELECT seq, at, service, incident, plugin, version, calls.digest, settings, text, part, replayable, input, output
         FROM calls LEFT JOIN settings ON settings.digest = calls.settings
         WHERE {} ORDER BY seq {} LIMIT ?",
        conditions.join(" AND "),
        if query.newest { "DESC" } else { "ASC" },
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(&values))?;
    let mut page = CallPage::default();
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let at = moment(row.get(1)?);
        let plugin = PluginRef { name: row.get::<_, String>(4)?.into(), version: row.get(5)?, digest: row.get(6)? };
        let settings = row.get::<_, String>(7)?;
        let text = row.get::<_, Option<String>>(8)?.unwrap_or_default();
        match bodies(row.get_ref(11)?.as_blob()?, row.get_ref(12)?.as_blob()?) {
            Err(why) => page.unreadable.push(UnreadableCall { seq, at, plugin, why: why.to_string() }),
            Ok((asked, said)) => page.calls.push(NumberedCall {
                seq,
                call: PluginCall {
                    at,
                    service: row.get::<_, String>(2)?.into(),
                    incident: row.get::<_, Option<[u8; 16]>>(3)?.map(|bytes| IncidentId(Uuid::from_bytes(bytes))),
                    plugin,
                    settings: PluginSettings { digest: settings.into(), text: text.into() },
                    part: if row.get_ref(9)?.as_str()? == word(SlotMode::Shadow) {
                        SlotMode::Shadow
                    } else {
                        SlotMode::Active
                    },
                    replayable: row.get(10)?,
                    asked,
                    said,
                },
            }),
        }
    }
    Ok(page)
}

fn bodies(input: &[u8], output: &[u8]) -> Result<(CallInput, CallResult), Unreadable> {
    Ok((from_cbor(&unpack(input)?)?, from_cbor(&unpack(output)?)?))
}

/// A configuration by its digest.
pub(crate) fn settings(connection: &Connection, digest: &str) -> rusqlite::Result<Option<PluginSettings>> {
    let text = connection
        .prepare_cached("SELECT text FROM settings WHERE digest = ?")?
        .query_row([digest], |row| row.get::<_, String>(0))
        .optional()?;
    Ok(text.map(|text| PluginSettings { digest: digest.into(), text: text.into() }))
}
