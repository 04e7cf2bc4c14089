//go:build !unix

package cli

import (
	"os"
	"os/signal"
)

// runProcess runs a command with this process's console and files, and returns its exit
// code. The console sends Ctrl-C to both, and this process waits for the command.
func runProcess(path string, args, env []string, _ *lease) (code int, err error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	defer signal.Stop(signals)

	p, err := os.StartProcess(path, args, &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, err
	}
	state, err := p.Wait()
	if err != nil {
		return 0, err
	}
	return state.ExitCode(), nil
}
