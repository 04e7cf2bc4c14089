//go:build unix

package cli

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that this process passes on to the command.
var forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP,
}

// process is a running command.
type process struct {
	*os.Process
	lease *lease

	// terminal is the descriptor of the terminal whose foreground the command is in,
	// in a process group of its own; -1 if it has none. The terminal's signals then
	// reach the command, and not this process.
	terminal int

	// shares reports whether the command is in this process's group, in the foreground
	// of a terminal. The terminal's signals then reach both.
	shares bool
}

// runProcess runs a command with this process's terminal and files, and returns its
// exit code, or 128 and the number of the signal that ended it.
func runProcess(path string, args, env []string, l *lease) (code int, err error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGCONT)
	defer signal.Stop(signals)
	for _, s := range forwarded {
		if !signal.Ignored(s) { // as nohup does, and the command ignores it too
			signal.Notify(signals, s)
		}
	}

	p := &process{lease: l, terminal: -1}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if tty := foregroundTerminal(); tty >= 0 {
		defer func() { _ = unix.Close(tty) }()
		if isTerminal(os.Stdin) && isTerminal(os.Stdout) {
			p.terminal = tty
			attr.Foreground, attr.Ctty = true, tty
		} else { // a pipeline, whose other members are in this group
			p.shares, attr.Setpgid = true, false
		}
	}
	p.Process, err = os.StartProcess(path, args, &os.ProcAttr{
		Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr,
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = p.Release() }()

	ended := make(chan struct{})
	defer close(ended)
	go p.forward(signals, ended)
	code = p.wait()
	p.takeTerminal()
	return code, nil
}

// forward sends signals to the command until it has ended.
func (p *process) forward(signals <-chan os.Signal, ended <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			switch {
			case s == syscall.SIGCONT:
				p.goOn()
			case p.shares && (s == syscall.SIGINT || s == syscall.SIGQUIT || s == syscall.SIGTSTP):
				// The terminal has sent it to the command, too.
				if s == syscall.SIGTSTP {
					p.stop()
				}
			default:
				_ = p.Signal(s) // fails if the command has ended
			}
		case <-ended:
			return
		}
	}
}

// wait waits until the command ends. If the command is stopped, this process stops too,
// so that the shell takes over.
func (p *process) wait() (code int) {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(p.Pid, &status, unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1 // nobody else waits for it, so this does not happen
		case status.Exited():
			return status.ExitStatus()
		case status.Signaled():
			return 128 + int(status.Signal())
		case status.Stopped() && p.terminal >= 0:
			p.takeTerminal()
			p.stop()
		}
	}
}

// stop stops this process and its group, as the terminal does to a job.
func (p *process) stop() {
	p.lease.suspend()
	_ = unix.Kill(0, unix.SIGSTOP)
}

// goOn continues the command after a stop, in the foreground if the shell has put this
// process there.
func (p *process) goOn() {
	p.lease.resume()
	if p.terminal < 0 {
		return
	}
	if group, err := unix.IoctlGetInt(p.terminal, unix.TIOCGPGRP); err == nil && group == unix.Getpgrp() {
		_ = unix.IoctlSetPointerInt(p.terminal, unix.TIOCSPGRP, p.Pid)
	}
	_ = unix.Kill(-p.Pid, unix.SIGCONT)
}

// takeTerminal puts this process in the foreground if the command was there. The kernel
// stops a background process that tries, unless it ignores the signal.
func (p *process) takeTerminal() {
	if p.terminal < 0 {
		return
	}
	if group, err := unix.IoctlGetInt(p.terminal, unix.TIOCGPGRP); err != nil || group != p.Pid {
		return
	}
	signal.Ignore(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(p.terminal, unix.TIOCSPGRP, unix.Getpgrp())
	signal.Reset(syscall.SIGTTOU)
}

// foregroundTerminal opens the terminal of this process, if it is in its foreground;
// else it returns -1.
func foregroundTerminal() int {
	tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP); err != nil || group != unix.Getpgrp() {
		_ = unix.Close(tty)
		return -1
	}
	return tty
}

// isTerminal reports whether a file is the terminal of this process.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil
}
