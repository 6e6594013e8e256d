//! Loads a configuration from defaults, file, environment and command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Config;
use super::environment::{self, Meaning};
use super::error::{ConfigErrors, Finding, Origin, clean};
use super::file;
use super::format::{Fault, Input, Sentence};
use super::keys::Key;

/// The default file.
pub(super) const FILE: &str = "/etc/pulsegate/pulsegate.toml";
/// The variable that names the file. The command line overrides it.
pub(super) const FILE_VARIABLE: &str = "PULSEGATE_CONFIG";

/// An incomplete configuration, and its errors so far.
#[derive(Default)]
pub(super) struct Loader {
    pub(super) config: Config,
    pub(super) errors: ConfigErrors,
    /// The keys with an error.
    pub(super) faulty: Vec<&'static str>,
}

impl Config {
    /// Loads the configuration. `file` is the file that the command line names. Without it the environment names the file,
    /// or [`FILE`] is the file if it exists. `environment` has the variables of the process. `overrides` has the keys and
    /// values of the command line. Repeated values of a list add up.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &[(&'static str, String)],
    ) -> Result<Self, ConfigErrors> {
        Self::load_or(Path::new(FILE), file, environment, overrides)
    }

    /// [`Self::load`] with another default file.
    pub(super) fn load_or(
        default_file: &Path,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &[(&'static str, String)],
    ) -> Result<Self, ConfigErrors> {
        let mut variables = environment::variables(environment);
        let named = variables.iter().position(|(variable, _)| variable == FILE_VARIABLE);
        let named = named.map(|at| PathBuf::from(variables.remove(at).1));
        let by_variable = || Origin::Environment(FILE_VARIABLE.into());
        let mut loader = Loader::default();
        match (file, &named) {
            (Some(file), _) => loader.open_file(file, Some(Origin::Default)),
            (None, Some(file)) if file.as_os_str().is_empty() => {
                loader.errors.add(by_variable(), "invalid value '': expected the path of a file".into());
            }
            (None, Some(file)) => loader.open_file(file, Some(by_variable())),
            (None, None) => loader.open_file(default_file, None),
        }
        for (variable, value) in variables {
            loader.read_variable(variable, &value);
        }
        loader.read_overrides(overrides);
        loader.finish()
    }

    /// Whether the running gateway may apply this configuration in place of `self`. A file that has vanished, or that
    /// an editor emptied on a full disk, would silently replace every rule by its default.
    pub(crate) fn replaces(&self, running: &Self) -> Result<(), String> {
        let Some(file) = &running.file else { return Ok(()) };
        if self.file.is_none() {
            return Err(format!("{}: the file is gone, but the gateway runs with it", clean(file)));
        }
        if self.file_is_empty && !running.file_is_empty {
            return Err(format!("{}: the file is empty, but it held values when the gateway read it", clean(file)));
        }
        Ok(())
    }
}

impl Loader {
    fn open_file(&mut self, path: &Path, named: Option<Origin>) {
        match file::read(path, named.is_some()) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                self.config.file = Some(path.into());
                self.config.file_is_empty = bytes.trim_ascii().is_empty();
                self.read_file(path, &bytes);
            }
            Err(text) => self.errors.add(named.unwrap_or(Origin::Default), format!("{}: {text}", clean(path))),
        }
    }

    fn read_variable(&mut self, variable: String, value: &OsString) {
        match environment::meaning(&variable, value) {
            Meaning::Key(key) => {
                let origin = Origin::Environment(variable);
                match value.to_str() {
                    Some(text) => self.read_text(key, text, origin),
                    None => self.errors.add(origin, "the value must be UTF-8".into()),
                }
            }
            Meaning::Foreign => {}
            Meaning::Unknown(text) => {
                self.config.ignored.push(Finding { origin: Origin::Environment(environment::shown(&variable)), text });
            }
            Meaning::Misspelt(text) => self.errors.add(Origin::Environment(environment::shown(&variable)), text),
        }
    }

    fn read_overrides(&mut self, overrides: &[(&'static str, String)]) {
        for (number, (name, text)) in overrides.iter().enumerate() {
            let Some(key) = Key::find(name) else {
                self.errors.add(Origin::CommandLine("command line"), format!("unknown key {name}"));
                continue;
            };
            let origin = Origin::CommandLine(key.option.unwrap_or(key.name));
            // The last value overrides the earlier ones. For a list it collects them.
            if overrides[number + 1..].iter().any(|(other, _)| other == name) {
                continue;
            }
            let earlier = overrides[..number].iter().filter(|(other, _)| key.list && other == name);
            let texts: Vec<_> = earlier.map(|(_, text)| text.as_str()).chain([text.as_str()]).collect();
            self.read_text(key, &texts.join(","), origin);
        }
    }

    fn read_text(&mut self, key: &'static Key, text: &str, origin: Origin) {
        self.read_value(key, Input::Text(text), |_| origin.clone());
    }

    /// Reads the value of a key. `origin` returns the origin of the value, or of a part of it.
    pub(super) fn read_value(
        &mut self,
        key: &'static Key,
        input: Input<'_>,
        origin: impl Fn(Option<std::ops::Range<usize>>) -> Origin,
    ) {
        match (key.read)(&mut self.config, input) {
            Ok(()) => self.config.origins[key.number()] = origin(None),
            Err(faults) => {
                self.faulty.push(key.name);
                for Fault { span, what } in faults {
                    let sentence = Sentence { name: key.name, want: key.want, bound: key.bound(), input, what };
                    self.errors.add(origin(span), sentence.to_string());
                }
            }
        }
    }

    /// Returns the configuration, or its errors.
    pub(super) fn finish(mut self) -> Result<Config, ConfigErrors> {
        self.check();
        if self.errors.is_empty() { Ok(self.config) } else { Err(self.errors) }
    }
}
