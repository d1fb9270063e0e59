//! Spec + columns of the data → [`Layout`], or every fault at once.

use super::layout::{
    BagColumn, GroupLayout, IdColumn, Layout, LossWeight, NumberColumn, SequenceLayout, SplitColumn, TableLayout, TimeColumn, TruthLayout,
};
use super::source::TruthColumns;
use crate::diagnostic::suggest::nearest;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expression::Expression;
use crate::spec::{Feature, FeatureKind, Spec, Split, Stage, TimePart, Truth, Vocabulary};
use arrow::datatypes::{DataType, Schema};
use hashbrown::{HashMap, HashSet};

/// Columns with the truth: those that the spec names, else those of the source.
pub(crate) fn truth_columns(spec: &Spec, source: Vec<TruthColumns>) -> Vec<TruthColumns> {
    if spec.data.truth.is_empty() {
        return source;
    }
    let of = |(stage, t): (&String, &Truth)| TruthColumns {
        stage: stage.clone(),
        probability: t.probability.clone(),
        outcome: t.outcome.clone(),
    };
    spec.data.truth.iter().map(of).collect()
}

/// The columns that features may not take by a glob or by inference.
pub(crate) fn reserved(spec: &Spec, truth: &[TruthColumns]) -> HashSet<String> {
    let labels = spec.stages.iter().map(|s| s.label.clone());
    let keys = spec.data.keys.iter().cloned();
    let truth = truth.iter().flat_map(|t| [t.probability.clone(), t.outcome.clone()]);
    labels.chain(keys).chain(spec.data.weight.clone()).chain(truth).chain(loss_weights(spec).into_iter().flat_map(|w| w.columns)).collect()
}

/// The loss weights of the stages that have one.
pub(crate) fn loss_weights(spec: &Spec) -> Vec<LossWeight> {
    let of_stage = |(stage, s): (usize, &Stage)| {
        let text = s.loss_weight.as_ref()?;
        // That it is one was found when the spec was loaded.
        let expression = Expression::parse_open("loss_weight", text).ok()?;
        Some(LossWeight { stage, expression: expression.text().to_owned(), columns: expression.variables().to_vec() })
    };
    spec.stages.iter().enumerate().filter_map(of_stage).collect()
}

/// A feature with the columns it resolved to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claimed {
    pub feature: Feature,
    pub columns: Vec<String>,
}

struct Resolver<'a> {
    spec: &'a Spec,
    schema: &'a Schema,
    faults: Vec<Diagnostic>,
}

/// Which columns each feature takes.
pub(crate) fn claim(spec: &Spec, schema: &Schema, truth: &[TruthColumns]) -> Result<Vec<Claimed>, Diagnostics> {
    let mut this = Resolver { spec, schema, faults: Vec::new() };
    let claimed = this.claim(truth);
    if this.faults.is_empty() { Ok(claimed) } else { Err(Diagnostics(this.faults)) }
}

/// The layout of these features over these columns.
pub(crate) fn resolve(spec: &Spec, schema: &Schema, truth: &[TruthColumns], claimed: &[Claimed]) -> Result<Layout, Diagnostics> {
    let mut this = Resolver { spec, schema, faults: Vec::new() };
    let layout = this.layout(truth, claimed);
    if this.faults.is_empty() { Ok(layout) } else { Err(Diagnostics(this.faults)) }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

impl Resolver<'_> {
    fn has(&self, column: &str) -> bool {
        self.schema.index_of(column).is_ok()
    }

    fn fault(&mut self, id: &'static str, key: &str, message: String, help: Vec<String>) {
        let mut fault = Diagnostic::error(id, message).at(self.spec.place(key), "");
        fault.help = help;
        self.faults.push(fault);
    }

    /// Reports a column that is not in the data.
    fn need(&mut self, column: &str, what: &str, key: &str) -> bool {
        if self.has(column) {
            return true;
        }
        let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        let mut help: Vec<String> = nearest(column, names.iter().copied()).map(|n| format!("did you mean `{n}`?")).into_iter().collect();
        help.push(format!("columns of the data: {}", names.join(", ")));
        self.fault("unknown-column", key, format!("{what}: no column `{column}` in the data"), help);
        false
    }

    fn claim(&mut self, truth: &[TruthColumns]) -> Vec<Claimed> {
        let spec = self.spec;
        let mut skipped = reserved(spec, truth);
        skipped.extend(spec.features.declared.iter().filter_map(|f| f.weights.clone()));
        let labels: HashSet<&str> = spec.stages.iter().map(|s| s.label.as_str()).collect();
        let mut owner: HashMap<String, String> = HashMap::new();
        let mut claimed = Vec::new();
        for feature in &spec.features.declared {
            let key = format!("feature.{}.columns", feature.name);
            let what = format!("feature `{}`", feature.name);
            let implied = [feature.name.clone()];
            let patterns = if feature.columns.is_empty() { &implied[..] } else { &feature.columns[..] };
            let key = if feature.columns.is_empty() { format!("feature.{}", feature.name) } else { key };
            let mut columns: Vec<String> = Vec::new();
            for pattern in patterns {
                let found = if self.has(pattern) || !is_glob(pattern) {
                    if labels.contains(pattern.as_str()) {
                        let message = format!("{what}: column `{pattern}` is a label, so it cannot be a feature");
                        let help = vec!["a stage's outcome is not known when its row is scored; take it out of `columns`".into()];
                        self.fault("label-as-feature", &key, message, help);
                        continue;
                    }
                    if !self.need(pattern, &what, &key) {
                        continue;
                    }
                    if feature.kind == FeatureKind::Cross {
                        self.check_type(feature, pattern);
                    }
                    vec![pattern.clone()]
                } else {
                    self.matches(pattern, &skipped, &what, &key)
                };
                for column in found {
                    if !columns.contains(&column) {
                        columns.push(column);
                    }
                }
            }
            if feature.kind == FeatureKind::Cross {
                claimed.push(Claimed { feature: feature.clone(), columns: vec![columns.join("×")] });
                continue;
            }
            for column in &columns {
                if let Some(other) = owner.insert(column.clone(), feature.name.clone()) {
                    let message = format!("column `{column}` is claimed by the features `{other}` and `{}`", feature.name);
                    self.fault("column-claimed-twice", &key, message, vec!["name it in one of them only".into()]);
                }
            }
            claimed.push(Claimed { feature: feature.clone(), columns });
        }
        claimed
    }

    fn matches(&mut self, pattern: &str, skipped: &HashSet<String>, what: &str, key: &str) -> Vec<String> {
        let glob = match glob::Pattern::new(pattern) {
            Ok(glob) => glob,
            Err(e) => {
                self.fault("bad-glob", key, format!("{what}: `{pattern}` is no pattern: {}", e.msg), Vec::new());
                return Vec::new();
            }
        };
        let fields = self.schema.fields();
        let found: Vec<String> = fields.iter().map(|f| f.name()).filter(|n| glob.matches(n) && !skipped.contains(*n)).cloned().collect();
        if found.is_empty() {
            let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
            let help = vec![format!("columns of the data: {}", names.join(", "))];
            self.fault("unknown-column", key, format!("{what}: no column matches `{pattern}`"), help);
        }
        found
    }

    fn layout(&mut self, truth: &[TruthColumns], claimed: &[Claimed]) -> Layout {
        let spec = self.spec;
        for stage in &spec.stages {
            self.need(&stage.label, &format!("stage `{}`", stage.name), &format!("stage.{}.label", stage.name));
        }
        for key in &spec.data.keys {
            self.need(key, "`data.keys`", "data.keys");
        }
        if let Some(weight) = &spec.data.weight {
            self.need(weight, "`data.weight`", "data.weight");
        }
        let loss_weights = loss_weights(spec);
        for weight in &loss_weights {
            let key = format!("stage.{}.loss_weight", spec.stages[weight.stage].name);
            for column in &weight.columns {
                self.need(column, &format!("`{key}`"), &key);
            }
        }
        let mut aux: Vec<String> = Vec::new();
        for (column, key) in
            spec.metrics.gauc_by.iter().map(|c| (c, "metrics.gauc_by")).chain(spec.metrics.slices.iter().map(|c| (c, "metrics.slices")))
        {
            if self.need(column, &format!("`{key}`"), key) && !aux.contains(column) {
                aux.push(column.clone());
            }
        }
        let split = match &spec.split {
            Split::Group { column, .. } if self.need(column, "`split.column`", "split.column") => SplitColumn::Group(column.clone()),
            Split::Column { column, .. } if self.need(column, "`split.column`", "split.column") => SplitColumn::Order(column.clone()),
            _ => SplitColumn::None,
        };
        for (stage, columns) in &spec.data.truth {
            for (column, key) in [(&columns.probability, "probability"), (&columns.outcome, "outcome")] {
                let key = format!("data.truth.{stage}.{key}");
                self.need(column, &format!("`{key}`"), &key);
            }
        }
        let mut truth: Vec<TruthLayout> = truth
            .iter()
            .filter_map(|t| {
                let stage = spec.stages.iter().position(|s| s.name == t.stage)?;
                Some(TruthLayout { stage, probability: t.probability.clone(), outcome: t.outcome.clone() })
            })
            .collect();
        truth.sort_by_key(|t| t.stage);
        let (groups, tables) = self.groups(claimed);
        Layout {
            groups,
            tables,
            labels: spec.stages.iter().map(|s| (s.name.clone(), s.label.clone())).collect(),
            weight: spec.data.weight.clone(),
            loss_weights,
            keys: spec.data.keys.clone(),
            aux,
            split,
            truth,
        }
    }

    fn groups(&mut self, claimed: &[Claimed]) -> (Vec<GroupLayout>, Vec<TableLayout>) {
        let spec = self.spec;
        let mut groups = vec![GroupLayout { name: spec.funnel.row.clone(), ..GroupLayout::default() }];
        for entity in &spec.entities {
            self.need(&entity.key, &format!("entity `{}`", entity.name), &format!("entity.{}.key", entity.name));
            groups.push(GroupLayout { name: entity.name.clone(), key: Some(entity.key.clone()), ..GroupLayout::default() });
        }
        let (mut tables, table_of) = self.tables(claimed);
        for Claimed { feature, columns } in claimed {
            let group = match &feature.of {
                None => 0,
                Some(entity) => {
                    spec.entities.iter().position(|e| &e.name == entity).map_or_else(|| self.unknown_entity(feature, entity), |at| at + 1)
                }
            };
            if let Some(weights) = &feature.weights {
                let key = format!("feature.{}.weights", feature.name);
                self.need(weights, &format!("feature `{}`", feature.name), &key);
                if columns.len() > 1 {
                    let message = format!("feature `{}`: `weights` belongs to one column, and there are {}", feature.name, columns.len());
                    self.fault("weights-of-several", &key, message, vec!["give each weighted bag a feature of its own".into()]);
                }
            }
            for column in columns {
                self.check_type(feature, column);
                let table = table_of.get(column.as_str()).copied().unwrap_or(0);
                let cross = if feature.kind == FeatureKind::Cross { feature.columns.clone() } else { Vec::new() };
                let id = || IdColumn {
                    column: column.clone(),
                    cross,
                    time: None,
                    feature: feature.name.clone(),
                    table,
                    missing: feature.missing.clone(),
                };
                match feature.kind {
                    FeatureKind::Id | FeatureKind::Cross => groups[group].ids.push(id()),
                    FeatureKind::Bag | FeatureKind::Sequence => groups[group].bags.push(BagColumn {
                        id: id(),
                        weights: feature.weights.clone(),
                        separator: feature.separator.clone(),
                        pooling: feature.pooling,
                        sequence: sequence(feature),
                    }),
                    FeatureKind::Number => groups[group].numbers.push(NumberColumn {
                        column: column.clone(),
                        feature: feature.name.clone(),
                        transform: feature.transform.clone(),
                        missing: feature.missing.clone(),
                    }),
                    FeatureKind::Time => {
                        self.time_parts(claimed, feature, column);
                        groups[group].ids.extend(time_parts(feature, column, &mut tables));
                    }
                }
            }
        }
        self.attending(&groups);
        let mut at = 0;
        groups.retain(|g| {
            at += 1;
            at == 1 || !g.is_empty()
        });
        (groups, tables)
    }

    /// Reports parts of a time that have the name of a column.
    fn time_parts(&mut self, claimed: &[Claimed], feature: &Feature, column: &str) {
        for part in &feature.parts {
            let name = part_name(column, *part);
            if let Some(other) = claimed.iter().find(|c| c.columns.contains(&name)) {
                let message = format!(
                    "feature `{}`: part `{}` of column `{column}` has the name of a column of feature `{}`",
                    feature.name,
                    part.name(),
                    other.feature.name
                );
                self.fault("name-taken", &format!("feature.{}", feature.name), message, vec!["leave out one of the two".into()]);
            }
        }
    }

    /// Reports sequences that attend to what is no column of single ids.
    fn attending(&mut self, groups: &[GroupLayout]) {
        let ids: Vec<&str> = groups.iter().flat_map(|g| &g.ids).map(|c| c.column.as_str()).collect();
        for bag in groups.iter().flat_map(|g| &g.bags) {
            let Some(SequenceLayout { attend_to, .. }) = bag.sequence.as_ref().filter(|s| !ids.contains(&s.attend_to.as_str())) else {
                continue;
            };
            let feature = &bag.id.feature;
            let mut help: Vec<String> =
                nearest(attend_to, ids.iter().copied()).map(|n| format!("did you mean `{n}`?")).into_iter().collect();
            help.push(format!("columns of single ids: {}", ids.join(", ")));
            let message = format!("feature `{feature}` attends to `{attend_to}`, which is no column of a feature of single ids");
            self.fault("attend-to", &format!("feature.{feature}.attend_to"), message, help);
        }
    }

    /// Reports it; the feature counts as one of the rows.
    fn unknown_entity(&mut self, feature: &Feature, entity: &str) -> usize {
        let near = nearest(entity, self.spec.entities.iter().map(|e| e.name.as_str()));
        let declare = || format!("declare it:\n[entity.{entity}]\nkey = \"{entity}_id\"");
        let help = near.map_or_else(declare, |n| format!("did you mean `{n}`?"));
        let message = format!("feature `{}`: no entity `{entity}`", feature.name);
        self.fault("unknown-entity", &format!("feature.{}.of", feature.name), message, vec![help]);
        0
    }

    /// The tables, and which one each id or bag column uses.
    fn tables<'c>(&mut self, claimed: &'c [Claimed]) -> (Vec<TableLayout>, HashMap<&'c str, usize>) {
        let embedded: Vec<(&Feature, &str)> = claimed
            .iter()
            .filter(|c| c.feature.kind.takes("share_with"))
            .flat_map(|c| c.columns.iter().map(move |column| (&c.feature, column.as_str())))
            .collect();
        let feature_of: HashMap<&str, &Feature> = embedded.iter().map(|(f, c)| (*c, *f)).collect();
        let mut tables: Vec<TableLayout> = Vec::new();
        let mut table_of: HashMap<&str, usize> = HashMap::new();
        for &(feature, column) in &embedded {
            let key = format!("feature.{}.share_with", feature.name);
            let mut owner = column;
            let mut steps = 0;
            while let Some(next) = feature_of.get(owner).and_then(|f| f.shares()).filter(|next| *next != owner) {
                let Some((&known, _)) = feature_of.get_key_value(next) else {
                    // What a sequence attends to is looked at by itself.
                    if feature.share_with.is_none() {
                        break;
                    }
                    let help = nearest(next, embedded.iter().map(|(_, c)| *c)).map(|n| format!("did you mean `{n}`?"));
                    let message = format!("feature `{}`: `share_with` names `{next}`, which is no id or bag column", feature.name);
                    self.fault("unknown-column", &key, message, help.into_iter().collect());
                    break;
                };
                owner = known;
                steps += 1;
                if steps > embedded.len() {
                    self.fault("share-cycle", &key, format!("feature `{}`: `share_with` leads in a circle", feature.name), Vec::new());
                    break;
                }
            }
            let table = if let Some(at) = tables.iter().position(|t| t.name == owner) {
                at
            } else {
                let of = feature_of.get(owner).copied().unwrap_or(feature);
                if of.vocabulary == Vocabulary::Hashed && of.hash_rows.is_none() {
                    let message = format!("feature `{}`: a hashed vocabulary needs `hash_rows`", of.name);
                    self.fault("hash-rows", &format!("feature.{}", of.name), message, vec!["for example `hash_rows = 1_000_000`".into()]);
                }
                let hash_rows = of.hash_rows.map_or(1, std::num::NonZeroUsize::get);
                let min_count = of.min_count.max(1);
                tables.push(TableLayout { name: owner.to_owned(), min_count, vocabulary: of.vocabulary, hash_rows, range: None });
                tables.len() - 1
            };
            table_of.insert(column, table);
        }
        (tables, table_of)
    }

    /// Refuses columns whose type does not fit the feature.
    fn check_type(&mut self, feature: &Feature, column: &str) {
        let Ok(field) = self.schema.field_with_name(column) else { return };
        let list = match field.data_type() {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item.data_type()),
            _ => None,
        };
        let mut of = list.unwrap_or(field.data_type());
        if let DataType::Dictionary(_, inner) = of {
            of = inner;
        }
        let named = format!("feature `{}`: column `{column}`", feature.name);
        let (message, help) = match feature.kind {
            FeatureKind::Id | FeatureKind::Cross if list.is_some() => {
                (format!("{named} holds lists, so it is no single id"), "set `kind = \"bag\"`")
            }
            FeatureKind::Id | FeatureKind::Bag | FeatureKind::Sequence | FeatureKind::Cross if of.is_floating() => (
                format!("{named} holds floating-point numbers, which make no ids"),
                "set `kind = \"number\"`, or write the column as integers or text",
            ),
            FeatureKind::Number if list.is_some() => (format!("{named} holds lists, so it is no number"), "set `kind = \"bag\"`"),
            FeatureKind::Number if of.is_temporal() => (
                format!("{named} holds times, so it is no number"),
                "set `kind = \"time\"`, or write what matters (age in days) as a column",
            ),
            FeatureKind::Time => match time_fault(feature, of, list.is_some()) {
                Some((fault, help)) => (format!("{named} {fault}"), help),
                None => return,
            },
            _ if of.is_nested() => (format!("{named} holds nested values"), "write each part as a column of its own"),
            _ => return,
        };
        self.fault("column-type", &format!("feature.{}", feature.name), message, vec![help.into()]);
    }
}

/// The name of the field.
fn part_name(column: &str, part: TimePart) -> String {
    format!("{column}:{}", part.name())
}

fn sequence(feature: &Feature) -> Option<SequenceLayout> {
    Some(SequenceLayout { attend_to: feature.attend_to.clone()?, keep_last: feature.keep_last })
}

/// The parts of a column of times, each with a table of its own.
fn time_parts(feature: &Feature, column: &str, tables: &mut Vec<TableLayout>) -> Vec<IdColumn> {
    let one = |&part: &TimePart| {
        let name = part_name(column, part);
        let time = TimeColumn { column: column.to_owned(), part, unit: feature.unit, timezone: feature.timezone };
        let (table, range) = (tables.len(), Some(part.range()));
        tables.push(TableLayout { name: name.clone(), min_count: 1, vocabulary: Vocabulary::Learned, hash_rows: 1, range });
        IdColumn {
            column: name,
            cross: Vec::new(),
            time: Some(time),
            feature: feature.name.clone(),
            table,
            missing: feature.missing.clone(),
        }
    };
    feature.parts.iter().map(one).collect()
}

/// Why a column of this type holds no times for this feature, and what helps.
fn time_fault(feature: &Feature, of: &DataType, is_list: bool) -> Option<(String, &'static str)> {
    let is_date = matches!(of, DataType::Date32 | DataType::Date64);
    let within_day = feature.parts.iter().find(|p| p.within_day()).filter(|_| is_date);
    if let Some(part) = within_day {
        return Some((
            format!("holds dates, which have no {}", part.name()),
            "name parts of a date, as in `parts = [\"weekday\", \"week\"]`",
        ));
    }
    let is_text = of.is_string() || of.is_binary() || of.is_null();
    if !is_list && (is_date || is_text || matches!(of, DataType::Timestamp(..))) {
        return None;
    }
    if !is_list && (of.is_integer() || of.is_floating()) {
        let help = "add `unit = \"seconds\"` or `unit = \"milliseconds\"`, whichever the column counts since 1970";
        return feature.unit.is_none().then(|| ("holds numbers, and the feature does not say what they count".into(), help));
    }
    Some((
        format!("holds {}, so it is no time", if is_list { "lists".into() } else { of.to_string() }),
        "write each time in a cell of its own",
    ))
}
