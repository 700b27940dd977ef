package cage

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// layers are applied each alone, in a process of its own.
var layers = map[string]func() ([]Missing, error){
	"root": func() ([]Missing, error) {
		if !Root(os.Getenv("EMPTY")) {
			return []Missing{{"root", "not permitted"}}, nil
		}
		return nil, nil
	},
	"user": func() ([]Missing, error) {
		kept, err := becomeNobody()
		return missing("user", kept), err
	},
	"landlock": func() ([]Missing, error) { return missing("landlock", landlockProcess()), nil },
	"thread": func() ([]Missing, error) {
		runtime.LockOSThread()
		return Thread("/proc/self/exe", os.Getenv("EMPTY"))
	},
	"seccomp": func() ([]Missing, error) { return missing("seccomp", filter()), nil },
	"limits": func() ([]Missing, error) {
		low := syscall.Rlimit{Cur: 20, Max: 20} // as a container may have
		if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			return nil, err
		}
		if _, err := becomeNobody(); err != nil {
			return nil, err
		}
		err := Limit(Limits{CPU: 100, Data: 1 << 40, Files: 32})
		if err == nil {
			err = syscall.Getrlimit(unix.RLIMIT_NOFILE, &low)
		}
		if err == nil && low.Cur != 20 {
			err = fmt.Errorf("the limit is now %d", low.Cur)
		}
		return nil, err
	},
	"all": func() ([]Missing, error) { return Lock(os.Getenv("EMPTY")) },
}

// An attempt is something that a computation has no business to do.
type attempt struct {
	name   string
	do     func() syscall.Errno
	denied string // by these layers, besides seccomp
}

func call(number, a, b, c uintptr) func() syscall.Errno {
	return func() syscall.Errno {
		_, _, errno := unix.RawSyscall(number, a, b, c)
		return errno
	}
}

func errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if e, ok := err.(syscall.Errno); ok {
		return e
	}
	return unix.EINVAL
}

// attempts are ordered: those which change the process come last.
func attempts() []attempt {
	outside := os.Getenv("OUTSIDE")
	address := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}
	return []attempt{
		{"read a file", func() syscall.Errno { _, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0); return errno(err) }, "root landlock thread"},
		{"write a file", func() syscall.Errno {
			_, err := unix.Open(outside+"/made", unix.O_CREAT|unix.O_WRONLY, 0o666)
			return errno(err)
		}, "root landlock thread"},
		{"make a directory", func() syscall.Errno { return errno(unix.Mkdir(outside+"/dir", 0o777)) }, "root landlock thread"},
		{"remove a file", func() syscall.Errno { return errno(unix.Unlink(outside + "/kept")) }, "root landlock thread"},
		{"look at a file", func() syscall.Errno { var s unix.Stat_t; return errno(unix.Stat("/etc/passwd", &s)) }, "root"},
		{"connect", func() syscall.Errno {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return errno(err)
			}
			if err := unix.Connect(s, address); err != unix.ECONNREFUSED {
				return errno(err)
			}
			return 0
		}, "landlock thread"},
		{"listen", func() syscall.Errno {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return errno(err)
			}
			return errno(unix.Bind(s, &unix.SockaddrInet4{Addr: address.Addr}))
		}, "landlock thread"},
		{"unix socket", func() syscall.Errno { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return errno(err) }, ""},
		{"datagram", func() syscall.Errno { _, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); return errno(err) }, ""},
		{"netlink", func() syscall.Errno { _, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0); return errno(err) }, ""},
		{"pipe", func() syscall.Errno { var p [2]int; return errno(unix.Pipe2(p[:], 0)) }, ""},
		{"memory file", func() syscall.Errno { _, err := unix.MemfdCreate("x", 0); return errno(err) }, ""},
		{"exec", func() syscall.Errno {
			if err := unix.Exec(outside+"/kept", []string{"kept"}, nil); err != unix.ENOEXEC {
				return errno(err)
			}
			return 0
		}, "root landlock thread"},
		{"fork", fork, ""},
		{"clone3", call(unix.SYS_CLONE3, 0, 0, 0), ""},
		{"ptrace", call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 0, 0), ""},
		{"signal the parent", call(unix.SYS_KILL, uintptr(os.Getppid()), 0, 0), "user landlock"},
		{"signal its thread", call(unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid()), 0), "user landlock"},
		{"limit the parent", call(unix.SYS_PRLIMIT64, uintptr(os.Getppid()), unix.RLIMIT_CORE, 0), "user"},
		{"unshare", call(unix.SYS_UNSHARE, unix.CLONE_NEWNS, 0, 0), "user"},
		{"bpf", call(unix.SYS_BPF, 0, 0, 0), ""},
		{"io_uring", call(unix.SYS_IO_URING_SETUP, 1, 0, 0), ""},
		{"code in new memory", func() syscall.Errno {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
			return errno(err)
		}, ""},
		{"code in old memory", func() syscall.Errno {
			m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return 0
			}
			return errno(unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC))
		}, ""},
		{"signals by a pipe", call(unix.SYS_FCNTL, 1, unix.F_SETOWN, uintptr(os.Getppid())), ""},
		{"lock a file", call(unix.SYS_FCNTL, 1, unix.F_GETLK, 0), ""},
		{"lease a file", call(unix.SYS_FCNTL, 1, unix.F_SETLEASE, unix.F_RDLCK), ""},
		{"another root", func() syscall.Errno { return errno(unix.Chroot(outside)) }, "user"},
		{"root again", call(unix.SYS_SETUID, 0, 0, 0), "user"},
	}
}

// fork makes a child that ends at once.
func fork() syscall.Errno {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return errno
}

// A finding is what came of one attempt.
type finding struct {
	Name, Layers, Why string
	Denied, Filtered  bool
}

// TestMain is also the process that is confined: it applies a layer and tries.
func TestMain(m *testing.M) {
	layer, ok := layers[os.Getenv("LAYER")]
	if !ok {
		os.Exit(m.Run())
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	tries := attempts() // the environment is there still
	missing, err := layer()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var found []finding
	for _, a := range tries {
		e := a.do()
		found = append(found, finding{a.name, a.denied, e.Error(), e != 0, e == unix.EPERM || e == unix.ENOSYS})
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"missing": missing, "found": found})
	os.Exit(0)
}

// Each layer denies what it is there for, without the others, and all of them
// together everything.
func TestLayers(t *testing.T) {
	root := os.Geteuid() == 0
	for name := range layers {
		t.Run(name, func(t *testing.T) {
			missing, found, outside := confined(t, name)
			for _, m := range missing {
				t.Logf("NOT CHECKED: this system lacks %s: %s", m.Layer, m.Why)
			}
			if len(missing) > 0 && (name != "all" || strings.Contains(fmt.Sprint(missing), "seccomp")) {
				return
			}
			if !root && (name == "user" || name == "root") {
				t.Logf("NOT CHECKED: layer %s, for it takes root", name)
				return
			}
			for _, f := range found {
				if strings.Contains(" "+f.Layers+" ", " "+name+" ") && !f.Denied {
					t.Errorf("%s is permitted", f.Name)
				}
				if (name == "all" || name == "seccomp") && !f.Filtered {
					t.Errorf("%s is not filtered: %s", f.Name, f.Why)
				}
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 && name == "all" {
				t.Errorf("outside there is now %v, %v", entries, err)
			}
		})
	}
}

func confined(t *testing.T, layer string) ([]Missing, []finding, string) {
	t.Helper()
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/kept", []byte("no program"), 0o777); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = []string{"LAYER=" + layer, "EMPTY=" + t.TempDir(), "OUTSIDE=" + outside}
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var result struct {
		Missing []Missing
		Found   []finding
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return result.Missing, result.Found, outside
}

// The filter does not depend on the machine the test runs on.
func TestFilterFits(t *testing.T) {
	p := filterFor(1)
	if len(p) > 4096 {
		t.Errorf("the filter has %d instructions", len(p))
	}
	for i, instruction := range p {
		if instruction.Code&7 == unix.BPF_JMP && i+1+int(max(instruction.Jt, instruction.Jf)) >= len(p) {
			t.Errorf("instruction %d jumps out", i)
		}
	}
}

func TestDeniedByVersion(t *testing.T) {
	for version, want := range map[int]unix.LandlockRulesetAttr{
		1: {Handled_access_fs: filesV1},
		2: {Handled_access_fs: filesV2},
		3: {Handled_access_fs: filesV3},
		4: {Handled_access_fs: filesV3, Handled_access_net: network},
		5: {Handled_access_fs: filesV5, Handled_access_net: network},
		6: {Handled_access_fs: filesV5, Handled_access_net: network, Scoped: scopes},
		9: {Handled_access_fs: filesV5, Handled_access_net: network, Scoped: scopes},
	} {
		if got := denied(version); got != want {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}
