package main

import "errors"

type scheduleCmd struct {
	ID        string `arg:"" help:"Device id."`
	Component string `arg:"" help:"Component, as in application/sensor-adapter."`
	Cron      string `arg:"" optional:"" help:"When, as in '0 */6 * * *'; a field in front may give seconds."`
	None      bool   `help:"End the schedule."`
}

// Help is the long text of tranquil schedule --help.
func (*scheduleCmd) Help() string {
	return `Whenever it is due the device looks for newer versions of the component, and
installs what it finds. It is what tranquil update --check asks for.`
}

// Run is an update's.
func (c *scheduleCmd) Run(s *session) error {
	if (c.Cron == "") != c.None {
		return errors.New("give either a CRON schedule or --none")
	}
	return (&updateCmd{ID: c.ID, Component: c.Component, Check: c.Cron, NoCheck: c.None}).Run(s)
}
