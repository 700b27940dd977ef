package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

type repairCmd struct {
	ID      string        `arg:"" help:"Device id."`
	Wait    bool          `help:"Wait until the agent has done it; exit code 1 if it stays in safe mode."`
	Timeout time.Duration `default:"10m" help:"How long to --wait."`
}

// Help is the long text of tranquil repair --help.
func (*repairCmd) Help() string {
	return `An agent that cannot read its journal is in safe mode: its components run, and
no update starts (tranquil device show tells why). A repair has it set aside what
it cannot read, ask the updaters what is installed, and go on. Look at the
component afterwards: an update may have been cut off.`
}

func (c *repairCmd) Run(s *session) error {
	hub, before, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	desired, _ := before.Properties.Desired["repair"].(float64)
	done, _ := before.Properties.Reported["repaired"].(float64)
	number := max(desired, done) + 1
	patch := iothub.TwinPatch{Desired: map[string]any{"repair": number}}
	if _, err := hub.PatchTwin(s.ctx, c.ID, patch, ""); err != nil {
		return err
	}
	safe := before.Properties.Reported["mode"] == "safe"
	if safe {
		fmt.Fprintf(s.out, "%s shall leave safe mode: repair %.0f\n", c.ID, number)
	} else {
		fmt.Fprintf(s.out, "%s is not in safe mode, as far as its twin knows; it is asked for repair %.0f all the same\n", c.ID, number)
	}
	if !c.Wait {
		return nil
	}
	return c.await(s, hub, number, safe)
}

// await polls, as the change is a small one and seldom asked for.
func (c *repairCmd) await(s *session, hub *iothub.Client, number float64, safe bool) error {
	for deadline := time.Now().Add(c.Timeout); time.Now().Before(deadline); {
		twin, err := hub.Twin(s.ctx, c.ID)
		if err != nil {
			return err
		}
		reported := twin.Properties.Reported
		if done, _ := reported["repaired"].(float64); done == number {
			if fault, _ := reported["fault"].(string); fault != "" {
				return fmt.Errorf("%s is still in safe mode: %s", c.ID, oneLine(fault))
			}
			if safe {
				fmt.Fprintf(s.out, "%s has left safe mode\n", c.ID)
			} else {
				fmt.Fprintf(s.out, "%s is not in safe mode: there was nothing to repair\n", c.ID)
			}
			return nil
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(time.Second / 2):
		}
	}
	return errors.New("the agent has not answered in time: the repair waits for it")
}
