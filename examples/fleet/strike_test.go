package fleet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// A point is a step of an update, in one direction.
type point struct {
	step string
	back bool
}

func (p point) String() string {
	if p.back {
		return "undo " + p.step
	}
	return p.step
}

// A trace is what the agent's log tells of updates.
type trace struct {
	path  string
	begin int64
}

// traceFrom begins a trace at the present end of the log, once the update
// before it is over there as well: the twin has its result a little earlier.
func traceFrom(path string) trace {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		log, _ := os.ReadFile(path)
		step, end := bytes.LastIndex(log, []byte("msg=step ")), bytes.LastIndex(log, []byte(`msg="update ended"`))
		if step <= end || time.Now().After(deadline) { // one that was killed may not have said it
			return trace{path, int64(len(log))}
		}
	}
}

// A done is one step that the log says has been done or undone.
type done struct {
	point
	took time.Duration
}

var stepLine = regexp.MustCompile(`msg=step .*step=(\w+) back=(\w+) took=(\S+)`)

// read returns the steps so far, and whether the update has ended.
func (l trace) read() (steps []done, ended bool) {
	log, err := os.ReadFile(l.path)
	if err != nil || int64(len(log)) < l.begin {
		return nil, false
	}
	for line := range strings.Lines(string(log[l.begin:])) {
		if m := stepLine.FindStringSubmatch(line); m != nil {
			took, _ := time.ParseDuration(m[3])
			steps = append(steps, done{point{m[1], m[2] == "true"}, took})
		}
		ended = ended || strings.Contains(line, `msg="update ended"`)
	}
	return steps, ended
}

// grown waits a moment for the log to grow.
func (l trace) grown(size int64) int64 {
	for range 50 {
		if info, err := os.Stat(l.path); err == nil && info.Size() != size {
			return info.Size()
		}
		time.Sleep(200 * time.Microsecond)
	}
	return size
}

// A route is the order of the steps there and back, as an update took it.
type route struct {
	points  []point
	typical map[point]time.Duration // of the last time
}

// follow learns the route from an update that went through.
func follow(t *testing.T, l trace) route {
	t.Helper()
	steps, ended := l.read()
	eventually(t, "the log tells of the end of the update", func() bool {
		steps, ended = l.read()
		return ended && len(steps) > 0
	})
	r := route{typical: map[point]time.Duration{}}
	r.learn(l)
	for _, s := range steps {
		r.points = append(r.points, s.point)
	}
	probe := slices.IndexFunc(steps, func(s done) bool { return s.step == "probe" })
	for _, s := range slices.Backward(steps[:probe+1]) { // a version that is never healthy goes back from here
		r.points = append(r.points, point{s.step, true})
	}
	return r
}

// learn remembers how long the steps took.
func (r route) learn(l trace) {
	steps, _ := l.read()
	for _, s := range steps {
		r.typical[s.point] = s.took
	}
}

// before returns the step that precedes p on the route.
func (r route) before(p point) (point, bool) {
	at := slices.Index(r.points, p)
	switch {
	case at <= 0:
		return point{}, false
	case p.back && p.step == "probe":
		return point{"probe", false}, true
	}
	return r.points[at-1], true
}

// now tells which step runs when the steps so far have been done, in an update
// that turns back or not.
func (r route) now(steps []done, back bool) point {
	if len(steps) == 0 {
		return r.points[0]
	}
	last := steps[len(steps)-1].point
	if back && last == (point{"probe", false}) {
		return point{"probe", true}
	}
	at := slices.Index(r.points, last)
	if at < 0 || at == len(r.points)-1 {
		return last
	}
	return r.points[at+1]
}

// reach waits until p has begun, or has been missed. It then waits a random
// part of the time that p takes.
func (r route) reach(t *testing.T, l trace, p point, random *rand.Rand) {
	t.Helper()
	previous, found := r.before(p)
	span := r.typical[p] + 2*time.Millisecond
	wait := time.Duration(random.Int64N(int64(span)))
	if !found {
		time.Sleep(wait * 10) // resolve begins when the wish arrives
		return
	}
	var size int64
	for deadline := time.Now().Add(rig.UpdateTime); ; {
		steps, ended := l.read()
		if ended || slices.ContainsFunc(steps, func(s done) bool { return s.point == previous }) {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("the update does not reach %s", p)
			return
		}
		size = l.grown(size)
	}
	time.Sleep(wait)
}

// A victim is what is struck.
type victim struct {
	name   string
	strict bool // it is no reason to turn back
	strike func(*testing.T, *rig.System, *rand.Rand) (was bool)
}

var victims = []victim{
	{"agent", true, func(t *testing.T, s *rig.System, random *rand.Rand) bool {
		s.Agent.Kill()
		time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		restart(t, s)
		return true
	}},
	{"backend", true, func(t *testing.T, s *rig.System, random *rand.Rand) bool {
		s.Backend.Kill()
		time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		if err := s.StartBackend(t.Context()); err != nil {
			t.Fatal(err)
		}
		return true
	}},
	{"updater", false, func(_ *testing.T, s *rig.System, _ *rand.Rand) bool {
		return signal(syscall.SIGKILL)(s.Updater())
	}},
	{"frozen updater", false, func(_ *testing.T, s *rig.System, random *rand.Rand) bool {
		pid, runs := s.Updater()
		stopped := signal(syscall.SIGSTOP)(pid, runs)
		if random.IntN(3) == 0 { // it comes back
			time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
			signal(syscall.SIGCONT)(pid, runs)
		}
		return stopped
	}},
	{"supervisor", false, func(_ *testing.T, s *rig.System, _ *rand.Rand) bool {
		return signal(syscall.SIGKILL)(s.Supervisor())
	}},
	{"component", false, func(_ *testing.T, s *rig.System, _ *rand.Rand) bool {
		for _, c := range s.Components(rig.SensorAdapter) {
			return signal(syscall.SIGKILL)(c.PID, true)
		}
		return false
	}},
}

func signal(s syscall.Signal) func(pid int, runs bool) bool {
	return func(pid int, runs bool) bool { return runs && syscall.Kill(pid, s) == nil }
}

// frozenSoon has the agent notice a frozen updater after 1 to 2 s.
var frozenSoon = rig.Replace("sha256 =", "answer = \"1s\"\nsha256 =")

// A blow is one strike: planned, and where it was.
type blow struct {
	n      int
	victim victim
	aim    point
	struck point
	ended  bool // the update was over
	was    bool // there was something to strike

	result        string   // of the update
	lost, altered []string // files of the state
}

func (b blow) String() string {
	return fmt.Sprintf("strike %d at the %s, meant for %s, during %s", b.n, b.victim.name, b.aim, b.struck)
}
