package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child of the bench, with a log of its own.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

// start runs a command with no environment but env, until stop or the end of
// ctx.
func start(ctx context.Context, name, dir string, env []string, command string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, "log"), exited: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.CommandContext(ctx, command, args...)
	p.cmd.Dir = dir
	// A home of its own: Caddy keeps things there.
	p.cmd.Env = append([]string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 3 * time.Second
	p.cmd.SysProcAttr = dieWithParent()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // why it ended is in its log
		close(p.exited)
	}()
	return p, nil
}

// stop ends the process and waits until it is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// until asks again and again until ready has no error, for some seconds.
func (p *process) until(ready func() error) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.failed(errors.New("it ended"))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return p.failed(err)
		}
	}
}

// failed adds the end of the process's log to an error.
func (p *process) failed(err error) error {
	const tail = 2000
	log, _ := os.ReadFile(p.log)
	return fmt.Errorf("%s: %w\n%s", p.name, err, log[max(0, len(log)-tail):])
}

// pids are the process and its children: nginx works in those.
func (p *process) pids() []int {
	parent := p.cmd.Process.Pid
	pids := []int{parent}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if f, err := statFields(pid); err == nil && f[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cpu is the CPU time that the process has used so far, in user and in kernel.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids() {
		used, err := cpuOf(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// statFields reads /proc/<pid>/stat from its third field on: the second is the
// program's name, which may hold anything.
func statFields(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return nil, fmt.Errorf("/proc/%d/stat is not as it should be", pid)
	}
	return fields, nil
}

// rss is the memory that the process has resident, in bytes.
func (p *process) rss() (int64, error) {
	var sum int64
	for _, pid := range p.pids() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(data))
		if len(fields) < 2 {
			return 0, fmt.Errorf("/proc/%d/statm is not as it should be", pid)
		}
		pages, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += pages * int64(os.Getpagesize())
	}
	return sum, nil
}

// given are the addresses that freeAddr has given. The kernel gives a port again
// as soon as it is free, and a process may listen on several.
var given sync.Map

// freeAddr is a loopback address that nobody listens on just now.
func freeAddr() (string, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		addr := l.Addr().String()
		l.Close()
		if _, before := given.LoadOrStore(addr, true); !before {
			return addr, nil
		}
	}
}
