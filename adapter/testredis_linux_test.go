package adapter

import (
	"os/exec"
	"syscall"
)

// dieWithUs makes the kernel kill the process when the thread that starts it ends, so that it does not outlive tests
// which are killed or run into their time limit.
func dieWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
