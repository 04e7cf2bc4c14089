package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/spf13/cobra"
)

// Exit codes for a command that cannot be run, as in shells.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// runFlags are the flags of `run`.
type runFlags struct {
	create    createFlags // the part that makes claims
	providers []string
	relay     string
	env       []string
	address   *string
}

func runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run --provider <name>,... -- <command> [<argument>...]",
		Short: "Runs a command, such as a coding agent, with tokens of its own",
		Long: `Mints a token for each provider, and runs a command with the tokens and the relay's URL
in the usual environment variables: OPENAI_API_KEY and OPENAI_BASE_URL,
ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN and ANTHROPIC_BASE_URL, GEMINI_API_KEY,
GOOGLE_API_KEY and GOOGLE_GEMINI_BASE_URL, and those of every other preset. --env sets
more. Variables that hold real keys are removed.

When the command ends, its tokens are revoked, and their usage is printed to standard
error. The exit code is that of the command, or 128 plus the number of the signal that
ended it. If "caddy relayapi run" itself is killed, the relay misses its heartbeats and
revokes the tokens within five seconds.

The limits apply to each token, and so to each provider. Without --provider, the
command may call the only provider in the relay's config.

--relay is the URL at which the command reaches the relay. If the relay has a prefix,
the URL has a place for the provider's name: https://relay.example.com/api/{provider}.
Without --relay and RELAYAPI_URL, the URL comes from the config of the running relay.`,
		Example: `  caddy relayapi run --provider anthropic --usd 2 -- claude
  caddy relayapi run --provider openai,gemini --calls 200 --ttl 1h -- python agent.py
  caddy relayapi run --provider groq --env LLM_KEY={token} --env LLM_URL={url}/v1 -- ./agent`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("there is no command to run; put it after --, such as: caddy relayapi run --provider openai -- python agent.py")
			}
			return nil
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		code, err := f.run(cmd, args)
		if err != nil || code == 0 {
			return err
		}
		cmd.SilenceErrors = true // the command has reported its own error
		if code == 1 {
			return errors.New("the command exited with status 1")
		}
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, args)
	}
	f.register(cmd)
	return cmd
}

// register adds the flags to the command.
func (f *runFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SetInterspersed(false) // flags after the command belong to it
	flags.StringSliceVar(&f.providers, "provider", nil, "Providers that the command may call, by their names in the relay's config. Default: the only one there")
	flags.StringVar(&f.create.ttl, "ttl", "", "Longest lifetime of the tokens, such as 90m or 12h. Default: 24h, or the relay's max_ttl if that is less")
	for i, l := range limitFlags {
		flags.Int64Var(&f.create.limits[i], l.name, 0, l.usage+", for each token. Default: unlimited")
	}
	flags.StringVar(&f.create.usd, "usd", "", "How many US dollars each token may cost in all, such as 5 or 0.25. Default: unlimited")
	flags.StringSliceVar(&f.create.allow.Models, "models", nil, "Models that the tokens permit, such as gpt-4o or claude-*")
	flags.StringVar(&f.create.subject, "subject", "", "User who runs the command (sub), for limits and your own records")
	flags.StringArrayVar(&f.env, "env", nil, "Set another variable of the command, as NAME=value. {token} and {url} are those of the provider. With several providers, write {openai.token} and {openai.url}")
	flags.StringVar(&f.relay, "relay", "", "URL of the relay for the command, such as https://relay.example.com/api/{provider}. Default: $RELAYAPI_URL, or from the relay's config")
	f.address = addressFlag(cmd)
}

// run mints tokens, runs the command, and returns its exit code.
func (f *runFlags) run(cmd *cobra.Command, args []string) (code int, err error) {
	if err := noneEmpty(cmd, "provider", "ttl", "usd", "models", "subject", "relay", "address"); err != nil {
		return 0, err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return notRunnable(cmd, args[0], err), nil
	}
	targets, config, err := f.targets()
	if err != nil {
		return 0, err
	}
	extra, err := parseEnv(f.env, targets)
	if err != nil {
		return 0, err
	}

	l := &lease{address: *f.address, warn: cmd.ErrOrStderr()}
	defer l.end()
	for i := range targets {
		if err := f.mint(cmd, l, &targets[i]); err != nil {
			return 0, err
		}
	}
	go l.keep()
	env := childEnv(args[0], os.Environ(), config.keyVariables(), targets, extra)
	code, err = runProcess(path, args, env, l)
	if err != nil {
		return notRunnable(cmd, args[0], err), nil
	}
	l.end()
	l.report()
	return code, nil
}

// notRunnable prints why a command cannot be run, and returns the exit code.
func notRunnable(cmd *cobra.Command, name string, err error) int {
	var inner *exec.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Error: running %s: %v\n", name, err)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	return exitNotExecutable
}

// targets returns the providers with the URLs at which the command reaches them, and
// the relay's config.
func (f *runFlags) targets() ([]target, *relayConfig, error) {
	var keys adminapi.Keys
	if err := ask(*f.address, http.MethodGet, "/relayapi/keys", nil, &keys); err != nil {
		return nil, nil, err
	}
	config := readConfig(*f.address)

	names := f.providers
	if len(names) == 0 {
		names = config.providers()
		if len(names) != 1 {
			return nil, nil, fmt.Errorf("--provider is missing; name the providers that the command may call, such as --provider %s", orExample(names))
		}
	}
	template, err := relayURL(f.relay, os.Getenv("RELAYAPI_URL"), config)
	if err != nil {
		return nil, nil, err
	}

	var targets []target
	for _, name := range names {
		if slices.ContainsFunc(targets, func(t target) bool { return t.name == name }) {
			return nil, nil, fmt.Errorf("--provider %s: is given twice", name)
		}
		targets = append(targets, target{
			name: name, preset: config.preset(name),
			url: strings.ReplaceAll(template, "{provider}", name),
		})
	}
	return targets, config, nil
}

func orExample(names []string) string {
	if len(names) == 0 {
		return "openai"
	}
	return strings.Join(names, ",")
}

// mint mints the token for a target, and starts its heartbeats.
func (f *runFlags) mint(cmd *cobra.Command, l *lease, t *target) error {
	f.create.provider, f.create.id = t.name, "run-"+rand.Text()
	draft, err := f.create.draft(cmd, time.Now())
	if err != nil {
		return err
	}
	m, err := mintAtRelay(draft, *f.address)
	if err != nil {
		return plain(err)
	}
	t.token = m.Token
	l.tokens = append(l.tokens, leased{adminapi.Identity{Issuer: m.Issuer, ID: m.ID}, t.name})
	if err := l.beat(heartbeatTTL); err != nil {
		return fmt.Errorf("sending the first heartbeat: %w", err)
	}
	return nil
}
