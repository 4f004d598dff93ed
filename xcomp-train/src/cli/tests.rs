use clap::Parser as _;

use super::Cli;

/// The help of these arguments, without spaces at the ends of lines.
fn help(arguments: &[&str]) -> String {
    let all = ["xcomp"].iter().chain(arguments).chain(&["--help"]);
    let text = Cli::try_parse_from(all).unwrap_err().to_string();
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn help_lists_verbs_and_exit_codes() {
    insta::assert_snapshot!(help(&[]), @r"
    Supervised compression tuning of video VLMs

    Usage: xcomp <COMMAND>

    Commands:
      plan         Prints what a run is and costs, with no weight loaded
      ask          Answers a question about a video with an exported checkpoint
      fetch        Brings what a recipe names on the Hugging Face hub into its cache: nothing else asks the network
      train        Trains a recipe, or goes on where its run folder stands
      export       Writes a run as a Hugging Face folder with the released tensor names
      replay       Does one step of a run again and names the first tensor and sample that are not finite
      report       Measures what a run has learnt: gradients and updates by layer, what each drop costs, losses by dataset and frames
      schedule     Finds tokens of every layer under a budget, from what single drops cost the model of a run
      eval         Scores a checkpoint on the questions of a benchmark
      niah         Hides chains of pictures in long videos and asks for them
      compare      Says whether the second of two evaluations is better, whether two sweeps agree, or lays a run over the released one
      bench        Times training steps of a recipe's shapes on made-up samples: random weights, no data
      ablate       Trains and examines every arm of a sweep, and says which differ
      data         Looks at the mixture of a recipe
      recipe       Lists the keys of a recipe
      runs         Lists the runs in a folder: steps, loss, state, size
      demo         Makes its own small world, tunes a tiny model on it with LP-Comp, and asks it held-out questions
      doctor       Prints what this machine has: devices, features, libraries
      completions  Prints a script that completes this program's arguments in a shell
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Exit codes:
      0   done
      1   the rest: the disk or the network refuses, a run of a sweep failed
      2   arguments, the recipe, or a config.json, checkpoint, weights or name of the hub in them cannot be used
      3   data cannot be used
      4   a loss or gradient is not finite
      5   out of memory
      75  stopped early by a signal or --budget; the same command goes on
    ");
}

#[test]
fn help_of_train_says_where_the_run_goes() {
    insta::assert_snapshot!(help(&["train"]), @r"
    Trains a recipe, or goes on where its run folder stands

    Usage: xcomp train [OPTIONS] <RECIPE>

    Arguments:
      <RECIPE>
              The recipe file

    Options:
          --set <TABLE.KEY=VALUE>
              Overrides a key of the recipe (`xcomp recipe keys` lists them); repeatable

          --out <FOLDER>
              Folder of the run; a run in it is continued [default: runs/NAME, with the name of the recipe]

          --resume <CHECKPOINT>
              The checkpoint folder to go on from [default: the newest complete one of the run]

          --device <DEVICE>
              Where to compute: cpu, cuda[:i], vulkan[:i], wgpu[:i], or auto: the first of them that works, the processor last; without `i` each rank of a machine has the card of its own number. `vulkan:cpu` and `wgpu:cpu` are drivers in software, for tests; auto never takes one

              [default: auto]

          --budget <BUDGET>
              Stops in time to save, for example 9m; exit code 75

          --until-input-ends
              Stops in time to save when standard input ends, for a program that starts runs; exit code 75

          --mpi
              Trains together with the processes that mpirun or srun has started beside this one; in builds with MPI

          --patience <PATIENCE>
              With --mpi: how long a rank waits for the others, of which one may hang, before all end with exit code 6; longer than any step, save or export takes

              [default: 2h]

          --format <FORMAT>
              How the result is printed on stdout

              Possible values:
              - text: For people
              - json: For programs: one JSON value

              [default: text]

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn help_of_export_says_where_the_folder_goes() {
    insta::assert_snapshot!(help(&["export"]), @r"
    Writes a run as a Hugging Face folder with the released tensor names

    Usage: xcomp export [OPTIONS] <RUN>

    Arguments:
      <RUN>
              Folder of the run; with --llm-only an exported folder will do

    Options:
          --out <FOLDER>
              Folder of the export [default: runs/NAME-export, with the name of the run]

          --step <STEP>
              This checkpoint instead of the newest

          --set <TABLE.KEY=VALUE>
              Overrides a key of the run's recipe, such as `checkpoint.export_dtype`; repeatable

          --llm-only
              Writes the language model alone, as a plain Qwen2 folder

          --adapter
              Writes the adapter alone ([tune] `lora_rank`), in PEFT's layout; with --llm-only for the plain Qwen2 folder of the base

          --format <FORMAT>
              How the result is printed on stdout

              Possible values:
              - text: For people
              - json: For programs: one JSON value

              [default: text]

      -h, --help
              Print help (see a summary with '-h')
    ");
}
