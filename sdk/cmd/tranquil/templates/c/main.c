/* A state transform: settings.conf of schema 1 has interval=SECONDS, that of
   schema 2 has interval_ms=MILLISECONDS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* refuse ends the transform: this is not the state that it knows. */
static void refuse(const char *why, const char *what) {
	fprintf(stderr, "%s%s\n", why, what);
	exit(2);
}

/* LONGEST is an interval in seconds: what has more has no way back. */
#define LONGEST 1000000000LL

static long long number(const char *value, long long most) {
	char *end;
	long long n = strtoll(value, &end, 10);
	if (end == value || *end != '\0' || n < 0 || n > most)
		refuse("no interval: ", value);
	return n;
}

int main(int argc, char **argv) {
	if (argc < 3)
		refuse("usage: transform FROM TO FILE <old >new", "");
	int up = strcmp(argv[1], "1") == 0 && strcmp(argv[2], "2") == 0;
	if (!up && (strcmp(argv[1], "2") != 0 || strcmp(argv[2], "1") != 0))
		refuse("no such way", "");
	int found = 0;
	char *line = NULL;
	size_t room = 0;
	for (ssize_t n; (n = getline(&line, &room, stdin)) >= 0;) {
		if (n > 0 && line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (up && strncmp(line, "interval=", 9) == 0) {
			printf("interval_ms=%lld\n", number(line + 9, LONGEST) * 1000);
			found = 1;
		} else if (!up && strncmp(line, "interval_ms=", 12) == 0) {
			long long ms = number(line + 12, LONGEST * 1000);
			if (ms % 1000 != 0)
				refuse("no whole seconds: ", line);
			printf("interval=%lld\n", ms / 1000);
			found = 1;
		} else {
			puts(line);
		}
	}
	if (!found)
		refuse("there is no interval", "");
	if (fflush(stdout) != 0 || ferror(stdin))
		return 1;
	return 0;
}
