// SPDX-License-Identifier: GPL-2.0
//! The host tool: prepares everything that the series needs, builds it, boots it, tests it.
//!
//! What one module offers another:
//!
//! - [`ctx::Ctx`]: repository, cache and settings of this run; `ctx.step(name, hint, |step| ..)` is
//!   how anything that takes time is done.
//! - [`step::Step`]: `step.run(&mut Command)`, `step.output(..)`, `step.watch(cmd, |line| ..)`;
//!   output goes to the step's log, a failure names the step, its last lines and what to try.
//! - [`proc`]: `proc::spawn(&mut Command) -> Proc`; a child that dies with this process.
//! - [`sandbox`]: `sandbox::Sandbox::new(ctx, &root)` with `.ro(..) .rw(..) .cwd(..) .env(..)` and
//!   `.command(program) -> Command`: a program of the toolchain root.
//! - [`root::prepare`]`(ctx) -> Root`: the toolchain root.
//! - [`kernel::build`]`(ctx, Flavour) -> KernelBuild { image, modules, build, tree, release }`.
//! - [`qemu::build`]`(ctx, Target) -> QemuBuild`; `QemuBuild::command(ctx, binds) -> Command` is the
//!   emulator with its firmware path, its binds visible under their own names.
//! - [`initramfs::pack`]`(ctx, entries, out)`.
//! - [`selftests::build`]`(ctx, &KernelBuild) -> Selftests { ours, upstream }`: static programs.
//! - `ctx.variant(name, repo)`: the same run on another overlay, with build folders of its own
//!   (mutants), seeded from the plain ones.

mod bench;
mod cache;
mod cdecl;
mod cocci;
mod console;
mod ctx;
mod edits;
mod guest;
mod initramfs;
mod interrupt;
mod kconfig;
mod kernel;
mod ktap;
mod lab;
mod monitor;
mod mutants;
mod objects;
mod proc;
mod qemu;
mod results;
mod root;
mod sandbox;
mod selftests;
mod series;
mod source;
mod step;
mod story;
mod suites;
mod tree;
mod um;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "make",
    about = "The IOMMU extension series: build it, boot it, test it",
    after_help = ctx::SETTINGS,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot the lean kernel on an emulated VT-d and show the main job
    Run,
    /// Run the test suites
    Test,
    /// Measure what the series costs beside its C counterparts
    Bench,
    /// Open a shell in a guest
    Shell,
    /// Break the code in small ways and see that the tests notice
    Mutants,
    /// Open a shell in the toolchain root
    Enter,
    /// Write the patched kernel source to OUT=dir, as a plain tree
    Tree,
    /// Write the series to OUT=dir, as patches that can be mailed
    Series,
    /// Interrupt a cold run inside every step and see it recover
    TestInterrupt,
    /// Remove what was built from the cache; toolchain and downloads stay
    Clean,
}

fn dispatch(command: Command) -> Result<()> {
    let ctx = ctx::Ctx::new()?;
    match command {
        Command::Run => story::run(&ctx),
        Command::Test => suites::test(&ctx),
        Command::Bench => bench::run(&ctx),
        Command::Shell => story::shell(&ctx),
        Command::Enter => root::enter(&ctx),
        Command::Tree => tree::export(&ctx),
        Command::Series => series::export(&ctx),
        Command::Mutants => mutants::run(&ctx),
        Command::TestInterrupt => interrupt::run(&ctx),
        Command::Clean => cache::clean(&ctx),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    proc::handle_signals();
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever ran tests has said which failed, and ended with the sum.
        Err(error) if error.is::<suites::Failed>() => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
