package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

const secondComponent = "application/other"

// withSecond gives a device a second component.
func withSecond(config string) string {
	return strings.Replace(config, fmt.Sprintf("components = [%q]", rig.SensorAdapter), fmt.Sprintf("components = [%q, %q]", rig.SensorAdapter, secondComponent), 1)
}

// TestRequires wishes for two components at once, of which one requires the
// other, and then for a package that requires what nobody asks for.
func TestRequires(t *testing.T) {
	t.Parallel()
	s := startWith(t, []rig.Edit{withSecond}, "1.0.0")
	pushSecond(t, s)
	for version, constraint := range map[string]string{"2.1.0": ">=1.0.0", "2.2.0": ">=9.0.0"} {
		publish(t, s, append(quick, rig.Replace("2.0.0", version), requiring(constraint))...)
	}
	if err := s.Desire(t.Context(), fmt.Sprintf(`{"components": {%q: {"version": "2.1.0"}, %q: {"version": "1.0.0"}}}`, rig.SensorAdapter, secondComponent)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Await(t.Context(), "both are updated", rig.UpdateTime, func(r rig.Reported) bool {
		return r.Components[rig.SensorAdapter].Version == "2.1.0" && r.Components[secondComponent].Version == "1.0.0"
	})
	if err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	check(t, s)
	cause := refused(t, s, `{"version": "2.2.0"}`)
	if want := `requires application/other >=9.0.0; installed is "1.0.0"`; !strings.Contains(cause, want) {
		t.Errorf("the cause does not say %q: %s", want, cause)
	}
	check(t, s)
}

// requiring has a package require versions of the second component.
func requiring(constraint string) rig.Edit {
	return func(recipe string) string {
		return recipe + fmt.Sprintf("\n[requires]\n%q = %q\n", secondComponent, constraint)
	}
}

// TestWaiting has an update wait for consent and a maintenance window. The
// agent is killed meanwhile, another component is updated, and the first has
// noticed nothing until both are there. Then a refusal on the device.
func TestWaiting(t *testing.T) {
	t.Parallel()
	s := startWith(t, []rig.Edit{withSecond}, "1.0.0", "2.0.0")
	before, _ := check(t, s)
	cli(t, s, "consent", s.Device, rig.SensorAdapter, "--ask")
	cli(t, s, "window", s.Device, rig.SensorAdapter, inTwoDays())
	cli(t, s, "update", s.Device, rig.SensorAdapter, "2.0.0")
	first := waits(t, s, "consent", "the maintenance window")

	s.Agent.Kill()
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	updateOther(t, s)
	if again := waits(t, s, "consent", "the maintenance window"); again.ID != first.ID {
		t.Errorf("update %s has become %s", first.ID, again.ID)
	}
	if now, _ := check(t, s); now != before {
		t.Errorf("the component was touched: %+v became %+v", before, now)
	}

	cli(t, s, "consent", s.Device, rig.SensorAdapter)
	if u := waits(t, s, "the maintenance window"); u.WaitingUntil == nil || time.Until(*u.WaitingUntil) > 49*time.Hour {
		t.Errorf("until %v", u.WaitingUntil)
	}
	cli(t, s, "update", s.Device, rig.SensorAdapter, "2.0.0", "--now")
	if c := ends(t, s, first.ID); c.Version != "2.0.0" || c.Update.Result != "updated" || c.Update.WaitingFor != "" {
		t.Fatalf("%+v", c)
	}
	check(t, s)
	refuseOnDevice(t, s)
}

// refuseOnDevice refuses the next update; the consent to the last does not
// count for it.
func refuseOnDevice(t *testing.T, s *rig.System) {
	t.Helper()
	before, _ := check(t, s)
	cli(t, s, "window", s.Device, rig.SensorAdapter, "--none")
	cli(t, s, "update", s.Device, rig.SensorAdapter, "1.0.0")
	u := waits(t, s, "consent")
	if out, err := s.AgentCLI(t.Context(), "refuse", rig.SensorAdapter); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if c := ends(t, s, u.ID); c.Update.Result != "refused" || !strings.Contains(c.Update.Cause, "consent was refused") {
		t.Errorf("%+v", c.Update)
	}
	if after, _ := check(t, s); after != before {
		t.Errorf("the component was touched: %+v became %+v", before, after)
	}
}

// updateOther installs another component, which is the same program.
func updateOther(t *testing.T, s *rig.System) {
	t.Helper()
	pushSecond(t, s)
	cli(t, s, "update", s.Device, secondComponent, "1.0.0")
	r, err := s.Await(t.Context(), "the other component is updated", 2*time.Minute, func(r rig.Reported) bool {
		return r.Components[secondComponent].Update.Result != ""
	})
	if c := r.Components[secondComponent]; err != nil || c.Version != "1.0.0" {
		t.Fatalf("%+v, %v", c.Update, err)
	}
}

func pushSecond(t *testing.T, s *rig.System) {
	t.Helper()
	file, err := s.Package(t.Context(), "1.0.0", append(quick, rig.Replace(`name = "sensor-adapter"`, `name = "other"`))...)
	if err == nil {
		err = s.Push(t.Context(), file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// waits returns the update once the twin says that it waits for all of these,
// and nothing else.
func waits(t *testing.T, s *rig.System, reasons ...string) rig.Update {
	t.Helper()
	r, err := s.Await(t.Context(), "the update waits for "+strings.Join(reasons, ", "), 2*time.Minute, func(r rig.Reported) bool {
		waits := strings.Split(r.Components[rig.SensorAdapter].Update.WaitingFor, "; ")
		for i, reason := range reasons {
			if len(waits) != len(reasons) || !strings.HasPrefix(waits[i], reason) {
				return false
			}
		}
		return r.State == "online"
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Components[rig.SensorAdapter].Update
}

// ends returns the component once this very update of it has ended.
func ends(t *testing.T, s *rig.System, id string) rig.Component {
	t.Helper()
	r, err := s.Await(t.Context(), "update "+id+" has ended", rig.UpdateTime, func(r rig.Reported) bool {
		u := r.Components[rig.SensorAdapter].Update
		return u.ID == id && u.Result != ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Components[rig.SensorAdapter]
}

func cli(t *testing.T, s *rig.System, args ...string) {
	t.Helper()
	if out, err := s.CLI(t.Context(), args...); err != nil {
		t.Fatalf("tranquil %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// inTwoDays is a maintenance window that is closed while a test runs.
func inTwoDays() string {
	return time.Now().UTC().Add(48*time.Hour).Format("Mon") + " 00:00-24:00"
}
