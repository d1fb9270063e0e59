//! The command line, as data.

use crate::commands::{calibrate, importance, man, report};
use clap::{Args, Parser, Subcommand, ValueEnum};
use esmm_funnel_core::device::DeviceChoice;
use std::path::PathBuf;

/// Trains, evaluates and scores models of user funnels.
#[derive(Debug, Parser)]
#[command(name = "esmm-funnel", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Global {
    /// Say more; twice: everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but the answer and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Colours in text.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// What stdout holds.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Folder of encoded data stores [default: `.esmm-store` beside the runs].
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Let messages show values of the data, not only row numbers and labels.
    #[arg(long, global = true)]
    pub show_values: bool,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What stdout holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON value.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a funnel and evaluate it.
    Run(RunArgs),
    /// Train several specs with several seeds, and compare them in a table.
    Sweep(SweepArgs),
    /// Compare finished runs on the same rows, with intervals, and say which differences are real.
    Compare(crate::commands::compare::Args),
    /// Go on with a run that was stopped.
    Resume(ResumeArgs),
    /// Check a spec and say what it means and what it will cost.
    Check(CheckArgs),
    /// Look at data and propose a first spec for them.
    Init(InitArgs),
    /// Explain a key of the spec, or a plugin and its settings.
    Explain(ExplainArgs),
    /// Draw the funnel of a spec, with its rates where the data can be read.
    Graph(GraphArgs),
    /// List the plugins of this build.
    List(ListArgs),
    /// Print the JSON Schema of the spec language.
    Schema,
    /// Encode the data of a spec into its store, and look for label and leakage faults.
    Prepare(PrepareArgs),
    /// Evaluate a finished run.
    Eval(crate::commands::eval::Args),
    /// Score rows with a finished run.
    Predict(crate::commands::predict::Args),
    /// Calibrate a finished run: fit corrections of its probabilities, or take them away.
    Calibrate(calibrate::Args),
    /// Answer requests for scores over HTTP.
    Serve(crate::commands::serve::Args),
    /// Score again what `serve --log` wrote, and compare bit for bit.
    Replay(crate::commands::replay::Args),
    /// Write a finished run's report anew, or one on other rows.
    Report(report::Args),
    /// Measure what each field is worth, by permuting it.
    Importance(importance::Args),
    /// Give a finished run to other programs, as ONNX and safetensors.
    Export(crate::commands::export::Args),
    /// Write a crate with a plugin of your own to start from.
    #[command(subcommand)]
    New(NewCommand),
    /// Generate data in the form of a public data set, with the truth.
    #[command(subcommand)]
    Synth(SynthCommand),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands.
    Man(man::Args),
}

/// A spec and what the command line changes in it.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Spec, a TOML file.
    pub spec: PathBuf,
    #[command(flatten)]
    pub set: SetArgs,
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// Set a key of the spec, e.g. `train.epochs=3`; the value is TOML, else a string.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// `auto` takes CUDA where it can be had.
    #[arg(long, default_value_t = DeviceChoice::Auto, value_name = "auto|cpu|cuda:N")]
    pub device: DeviceChoice,
    /// Sets `train.seed`; the split stays.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The run's folder [default: runs/<funnel>/<time>-<id>].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Train N times, with seeds that count up; means and standard deviations stand in DIR/metrics.json.
    #[arg(long, value_name = "N")]
    pub repeat: Option<u32>,
    /// Write the test part's predictions.
    #[arg(long)]
    pub predictions: bool,
    /// Stop after what `check` does.
    #[arg(long)]
    pub dry_run: bool,
    /// Exit with 1 if this holds on test, e.g. `purchase.full.auc<0.70`.
    #[arg(long = "fail-if", value_name = "EXPR")]
    pub fail_if: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Specs of the same stages; each is called by its file's name. The others are compared with the first.
    #[arg(required = true)]
    pub specs: Vec<PathBuf>,
    #[command(flatten)]
    pub set: SetArgs,
    /// Train each spec N times, with seeds that count up.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub repeat: u32,
    /// The first seed [default: `train.seed` of the first spec].
    #[arg(long)]
    pub seed: Option<u64>,
    /// Choose a setting of one spec on valid, with the first seed, e.g. `aman:objective.outside_rate=0.1,0.2,0.5,1.0`.
    #[arg(long, value_name = "NAME:KEY=V1,V2")]
    pub search: Vec<String>,
    /// What settles a search [default: `<last stage>.conditional.auc`].
    #[arg(long, value_name = "METRIC")]
    pub search_by: Option<String>,
    /// Train each spec with several values of a setting too, and show how the figures follow it, e.g. `data-share=0.1,0.3,1.0`: `data-share` is the
    /// share of the training rows, drawn anew with each seed. Any other key of the spec will do.
    #[arg(long, value_name = "KEY=V1,V2")]
    pub axis: Option<String>,
    /// Compare each spec with the first on this many resamples of the test rows as well: how far other rows would have moved the difference.
    #[arg(long, value_name = "N")]
    pub bootstrap: Option<u32>,
    /// Draw the rows that share a value of this column (a user, say) together.
    #[arg(long, value_name = "COLUMN", requires = "bootstrap")]
    pub bootstrap_by: Option<String>,
    /// Published figures to show beside, JSON; see `configs/paper/published.json`.
    #[arg(long, value_name = "FILE")]
    pub beside: Option<PathBuf>,
    /// `auto` takes CUDA where it can be had.
    #[arg(long, default_value_t = DeviceChoice::Auto, value_name = "auto|cpu|cuda:N")]
    pub device: DeviceChoice,
    /// The folder of runs and table; what is finished in it is not done again [default: runs/<funnel>/sweep].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Run folder, or `@last`.
    pub run: String,
    /// `auto` takes CUDA where it can be had.
    #[arg(long, default_value_t = DeviceChoice::Auto, value_name = "auto|cpu|cuda:N")]
    pub device: DeviceChoice,
    /// Exit with 1 if this holds on test.
    #[arg(long = "fail-if", value_name = "EXPR")]
    pub fail_if: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Specs.
    #[arg(required = true)]
    pub specs: Vec<PathBuf>,
    #[command(flatten)]
    pub set: SetArgs,
    /// Exit with 1 if there is a warning.
    #[arg(long)]
    pub deny_warnings: bool,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// CSV, TSV (or .gz of these) or Parquet.
    pub data: PathBuf,
    /// Write the spec here instead of to stdout; a file that is there already stays as it is.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A key such as `train.batch_rows`, or `tower mlp`; nothing: an overview.
    pub topic: Vec<String>,
}

#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// What to draw it as [default: what the name of `--out` ends in, else text].
    #[arg(long = "as", value_enum, value_name = "KIND")]
    pub drawing: Option<Drawing>,
    /// The file to write [default: stdout].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Leave the data alone and draw no rates.
    #[arg(long)]
    pub no_rates: bool,
}

/// What a funnel is drawn as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    /// A tree of text.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// An SVG picture.
    Svg,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this kind.
    #[arg(value_parser = ["tower", "encoder", "objective", "source"])]
    pub kind: Option<String>,
    /// As a Markdown table.
    #[arg(long)]
    pub markdown: bool,
    /// As a Markdown page with every plugin's settings.
    #[arg(long, requires = "markdown")]
    pub settings: bool,
}

#[derive(Debug, Args)]
pub struct PrepareArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Read a store that is there in full and compare it with its checksums; if it is damaged, encode anew. Small files always are compared.
    #[arg(long)]
    pub verify: bool,
}

/// What to start.
#[derive(Debug, Subcommand)]
pub enum NewCommand {
    /// A crate with a tower, its test, a funnel that uses it, and a program that knows it.
    Tower(NewTowerArgs),
}

#[derive(Debug, Args)]
pub struct NewTowerArgs {
    /// The tower's name, as in `kind = "NAME"`; the crate's too.
    pub name: String,
    /// The new folder [default: NAME].
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// Build on this checkout of esmm-funnel instead of a released version.
    #[arg(long, value_name = "CHECKOUT")]
    pub source: Option<PathBuf>,
}

/// What to generate.
#[derive(Debug, Subcommand)]
pub enum SynthCommand {
    /// Raw files of Ali-CCP's form and shape: skeleton, common features, and the truth.
    Aliccp(SynthAliccpArgs),
}

#[derive(Debug, Args)]
pub struct SynthAliccpArgs {
    /// Rows of train.
    #[arg(long)]
    pub rows: u64,
    /// Folder for the files.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Rows of test [default: a quarter of --rows].
    #[arg(long, value_name = "N")]
    pub test_rows: Option<u64>,
    /// Everything follows from it and the other options.
    #[arg(long, default_value_t = 2018)]
    pub seed: u64,
    /// Scale of the vocabularies; at 1 they have the sizes of the real ones.
    #[arg(long, default_value_t = 0.1, value_name = "X")]
    pub vocab_scale: f64,
    /// Clicks per impression.
    #[arg(long, default_value_t = 0.0389, value_name = "RATE")]
    pub click_rate: f64,
    /// Purchases per click.
    #[arg(long, default_value_t = 0.0055, value_name = "RATE")]
    pub buy_rate: f64,
    /// Share of the purchases that stand on rows without a click, as some do in the real data.
    #[arg(long, default_value_t = 0.025, value_name = "SHARE")]
    pub orphans: f64,
    /// Scale of the number of values of a user's bags; at 1 about 609 a user.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub history_scale: f64,
    /// How alike what moves purchases is to what moves clicks: -1 to 1. The more, the more clicked rows differ from all rows.
    #[arg(long, default_value_t = 0.85, value_name = "X", allow_negative_numbers = true)]
    pub bias: f64,
    /// Scale of a hidden factor that moves both, and that no field shows.
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    pub confounding: f64,
    /// Compress the text files.
    #[arg(long)]
    pub gzip: bool,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}
