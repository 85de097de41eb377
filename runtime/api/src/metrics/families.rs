//! Writes metric families: a name, a line of help, and one sample for each set of labels. A family without samples is
//! left out.

use std::fmt::Result;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabel, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The name, unit and help of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family<'a> {
    name: &'a str,
    unit: Option<&'a Unit>,
    help: &'a str,
}

/// A family without a unit, which counts things or states.
pub(super) const fn family<'a>(name: &'a str, help: &'a str) -> Family<'a> {
    Family { name, unit: None, help }
}

impl<'a> Family<'a> {
    /// Adds a unit, which becomes the end of the name.
    pub(super) const fn of(self, unit: &'a Unit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// Writes a counter.
    pub(super) fn counts<V: EncodeCounterValue, L: EncodeLabel, const N: usize>(
        self,
        out: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = ([L; N], V)>,
    ) -> Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut metric = out.encode_descriptor(self.name, self.help, self.unit, MetricType::Counter)?;
        samples.try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, V, f64>(&value, None)
        })
    }

    /// Writes a gauge.
    pub(super) fn levels<V: EncodeGaugeValue, L: EncodeLabel, const N: usize>(
        self,
        out: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = ([L; N], V)>,
    ) -> Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut metric = out.encode_descriptor(self.name, self.help, self.unit, MetricType::Gauge)?;
        samples.try_for_each(|(labels, value)| match N {
            // Without labels there are no braces either.
            0 => metric.encode_gauge(&value),
            _ => metric.encode_family(&labels)?.encode_gauge(&value),
        })
    }

    /// Writes an info: labels without a value.
    pub(super) fn tells<L: EncodeLabel, const N: usize>(
        self,
        out: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = [L; N]>,
    ) -> Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut metric = out.encode_descriptor(self.name, self.help, self.unit, MetricType::Info)?;
        samples.try_for_each(|labels| metric.encode_info(&labels))
    }
}

/// True as 1.
pub(super) const fn one(truth: bool) -> u32 {
    truth as u32
}
