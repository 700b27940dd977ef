package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// agent makes the package of the agent with its updaters, and the archive of the
// same for BusyBox.
func (d *distribution) agent(a architecture) error {
	files, err := d.agentFiles(a)
	if err != nil {
		return err
	}
	config, err1 := d.file("agent/dist/agent.toml")
	unit, err2 := d.file("agent/dist/tranquil-agent.service")
	script, err3 := d.file("agent/dist/tranquil-agent.init")
	setup, err4 := d.file("agent/dist/setup")
	scripts, err5 := d.scripts("agent")
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	if err := d.archive(a, files, config, setup); err != nil {
		return err
	}
	p := d.deb("tranquil-agent", a, files, scripts)
	files.keep("etc/tranquil/agent.toml", 0o644, config)
	files.keep("etc/init.d/tranquil-agent", 0o755, script)
	files.dir("etc/tranquil/config.d")
	files.add("lib/systemd/system/tranquil-agent.service", 0o644, unit)
	if err := d.document(agent, 8, files); err != nil {
		return err
	}
	p.suggests = "lxc | runc, rauc"
	p.summary = "agent that updates the components of a device"
	p.about = "It keeps applications, containers and firmware up to date without losing\n their state, as an LwM2M server asks for it. With the updaters for all three."
	return d.debian(p)
}

// agentFiles are those that both have: the programs.
func (d *distribution) agentFiles(a architecture) (tree, error) {
	files := tree{}
	binary, err := d.compile(agent, a)
	if err == nil {
		err = files.addFile("usr/bin/tranquil-agent", 0o755, binary)
	}
	if err != nil {
		return nil, err
	}
	for _, u := range updaters {
		path, err := d.compile(u, a)
		if err != nil {
			return nil, err
		}
		if err := files.addFile("usr/lib/tranquil/"+u.name, 0o755, path); err != nil {
			return nil, err
		}
	}
	keep, err := d.file("agent/dist/keep")
	files.add("usr/lib/tranquil/keep", 0o755, keep)
	return files, err
}

// archive makes the archive for devices without packages.
func (d *distribution) archive(a architecture, files tree, config, setup []byte) error {
	all := tree{}
	for name, e := range files {
		all[name] = e
	}
	all.add("usr/share/tranquil/agent.toml", 0o644, config)
	all.add("usr/lib/tranquil/setup", 0o755, setup)
	data, err := all.tar("", d.time)
	if err != nil {
		return err
	}
	zipped, err := d.zip(data)
	if err != nil {
		return err
	}
	return d.write(fmt.Sprintf("tranquil-agent_%s_linux_%s.tar.gz", d.debianVersion(), a.debian), zipped)
}

func (d *distribution) backend(a architecture) error {
	files := tree{}
	config, err1 := d.file("backend/dist/backend.toml")
	unit, err2 := d.file("backend/dist/tranquil-backend.service")
	scripts, err3 := d.scripts("backend")
	binary, err4 := d.compile(backend, a)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	files.keep("etc/tranquil/backend.toml", 0o644, config)
	files.add("lib/systemd/system/tranquil-backend.service", 0o644, unit)
	if err := errors.Join(files.addFile("usr/bin/tranquil-backend", 0o755, binary), d.document(backend, 8, files)); err != nil {
		return err
	}
	p := d.deb("tranquil-backend", a, files, scripts)
	p.depends = "adduser"
	p.summary = "twin hub, LwM2M bridge and file server of Tranquil"
	p.about = "What devices report to and get their updates from, in one program: it needs\n no database and no broker."
	return d.debian(p)
}

func (d *distribution) cli(a architecture) error {
	files := tree{}
	binary, err := d.compile(cli, a)
	if err == nil {
		err = errors.Join(files.addFile("usr/bin/tranquil", 0o755, binary), d.document(cli, 1, files))
	}
	if err != nil {
		return err
	}
	p := d.deb("tranquil", a, files, nil)
	p.summary = "command line of Tranquil"
	p.about = "Builds, tests and signs update packages, and has devices updated."
	return d.debian(p)
}

func (d *distribution) deb(name string, a architecture, files tree, scripts map[string][]byte) deb {
	return deb{name: name, version: d.debianVersion(), arch: a.debian, section: "admin", scripts: scripts, files: files}
}

func (d *distribution) debian(p deb) error {
	data, err := d.pack(p)
	if err != nil {
		return err
	}
	return d.write(fmt.Sprintf("%s_%s_%s.deb", p.name, p.version, p.arch), data)
}

// scripts are what dpkg runs for a package of a product.
func (d *distribution) scripts(product string) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		script, err := d.file(filepath.Join(product, "dist", name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all[name] = script
	}
	return all, nil
}

// document adds what a program says of itself: its manual page, what shells
// complete; and licence and changes.
func (d *distribution) document(p program, section int, files tree) error {
	page, err := d.ask(p, "manual")
	if err != nil {
		return err
	}
	if page, err = d.zip(page); err != nil {
		return err
	}
	files.add(fmt.Sprintf("usr/share/man/man%d/%s.%[1]d.gz", section, p.name), 0o644, page)
	for shell, name := range map[string]string{
		"bash": "usr/share/bash-completion/completions/" + p.name,
		"zsh":  "usr/share/zsh/vendor-completions/_" + p.name,
		"fish": "usr/share/fish/vendor_completions.d/" + p.name + ".fish",
	} {
		text, err := d.ask(p, "completion", shell)
		if err != nil {
			return err
		}
		files.add(name, 0o644, text)
	}
	licence, err := d.file("LICENSE")
	if err != nil {
		return err
	}
	files.add("usr/share/doc/"+p.name+"/copyright", 0o644, licence)
	var changes bytes.Buffer
	fmt.Fprintf(&changes, "%s (%s) unstable; urgency=medium\n\n  * Built from %s.\n\n -- The authors of Tranquil <tranquil@localhost>  %s\n",
		p.name, d.debianVersion(), d.version, d.time.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	zipped, err := d.zip(changes.Bytes())
	files.add("usr/share/doc/"+p.name+"/changelog.gz", 0o644, zipped)
	return err
}
