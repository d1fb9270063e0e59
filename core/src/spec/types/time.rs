//! Times: which parts of one the towers see, and how a column says when.

use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of a time. It takes a few whole numbers, each of which owns a table row. The year is none: later ones are never seen in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimePart {
    /// Minute of the hour, 0 to 59.
    Minute,
    /// Hour of the day, 0 to 23.
    Hour,
    /// Day of the week, 1 (Monday) to 7 (Sunday).
    Weekday,
    /// Hour of the week, 0 (Monday, 0:00 to 0:59) to 167.
    HourOfWeek,
    /// 1 on Saturday and Sunday, else 0.
    Weekend,
    /// Day of the month, 1 to 31.
    Day,
    /// Week of the year as ISO 8601 counts, 1 to 53: it starts on Monday, and week 1 holds the year's first Thursday.
    Week,
    /// Month, 1 to 12.
    Month,
    /// Quarter of the year, 1 to 4.
    Quarter,
}

impl TimePart {
    /// The lowest and the highest number it takes.
    #[must_use]
    pub fn range(self) -> (i64, i64) {
        match self {
            Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::Weekday => (1, 7),
            Self::HourOfWeek => (0, 167),
            Self::Weekend => (0, 1),
            Self::Day => (1, 31),
            Self::Week => (1, 53),
            Self::Month => (1, 12),
            Self::Quarter => (1, 4),
        }
    }
    /// As a spec writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Weekday => "weekday",
            Self::HourOfWeek => "hour_of_week",
            Self::Weekend => "weekend",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
        }
    }
    /// Whether it says something within a day, which a date alone does not.
    #[must_use]
    pub fn within_day(self) -> bool {
        matches!(self, Self::Minute | Self::Hour | Self::HourOfWeek)
    }
}

/// What a number that stands for a time counts since the start of 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds, as `date +%s` prints them.
    Seconds,
    /// Milliseconds, as JavaScript and Java count.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}
impl TimeUnit {
    /// How many make a second.
    #[must_use]
    pub fn per_second(self) -> i64 {
        match self {
            Self::Seconds => 1,
            Self::Milliseconds => 1_000,
            Self::Microseconds => 1_000_000,
        }
    }
}

/// A fixed distance from UTC: `"UTC"`, or `"+05:30"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct UtcOffset {
    minutes: i32,
}
impl UtcOffset {
    /// As the calendar takes it.
    #[must_use]
    pub fn offset(self) -> Offset {
        // What was read as an offset is one.
        Offset::from_seconds(self.minutes * 60).unwrap_or(Offset::UTC)
    }
    fn parse(text: &str) -> Option<Self> {
        if text == "UTC" {
            return Some(Self::default());
        }
        let time = text.starts_with(['+', '-', 'Z']).then(|| format!("1970-01-01T00:00{text}"))?;
        let pieces = Pieces::parse(&time).ok().filter(|p| p.time_zone_annotation().is_none())?;
        let seconds = pieces.to_numeric_offset()?.seconds();
        (seconds % 60 == 0).then_some(Self { minutes: seconds / 60 })
    }
}
impl TryFrom<String> for UtcOffset {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("expected \"UTC\" or a fixed offset from it like \"+02:00\", found \"{text}\""))
    }
}
impl From<UtcOffset> for String {
    fn from(offset: UtcOffset) -> Self {
        let minutes = offset.minutes.abs();
        match offset.minutes {
            0 => "UTC".into(),
            m => format!("{}{:02}:{:02}", if m < 0 { '-' } else { '+' }, minutes / 60, minutes % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_and_written_back() {
        for (text, minutes, written) in [
            ("UTC", 0, "UTC"),
            ("Z", 0, "UTC"),
            ("+02:00", 120, "+02:00"),
            ("-0330", -210, "-03:30"),
            ("+14", 840, "+14:00"),
            ("-00:45", -45, "-00:45"),
        ] {
            let offset = UtcOffset::try_from(text.to_owned()).unwrap();
            assert_eq!((offset.minutes, String::from(offset)), (minutes, written.to_owned()));
            assert_eq!(offset.offset().seconds(), minutes * 60);
        }
        for text in ["", "2", "Europe/Berlin", "+2", "+30:00", "+02:00[Europe/Berlin]", "+01:00:30", ":30Z", "utc+2"] {
            assert!(UtcOffset::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_is_named_as_it_is_written() {
        use TimePart as P;
        for part in [P::Minute, P::Hour, P::Weekday, P::HourOfWeek, P::Weekend, P::Day, P::Week, P::Month, P::Quarter] {
            assert_eq!(serde_json::to_value(part).unwrap(), part.name());
        }
    }
}
