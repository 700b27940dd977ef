/* A state transform: settings.conf of schema 1 has interval=SECONDS, that of
   schema 2 has interval_ms=MILLISECONDS. All else stays as it is, byte by byte. */
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

/* number reads the last length bytes of a line. It refuses "+7" and "07" as
   well: they would come back as 7. */
static long long number(const char *value, size_t length, long long most) {
	char *end, again[32];
	long long n = strtoll(value, &end, 10);
	snprintf(again, sizeof again, "%lld", n);
	if (n < 0 || n > most || strlen(again) != length || memcmp(again, value, length) != 0)
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
		const char *end = ""; /* the last line may have none */
		if (n > 0 && line[n - 1] == '\n') {
			line[--n] = '\0';
			end = "\n";
		}
		if (up && strncmp(line, "interval=", 9) == 0) {
			printf("interval_ms=%lld%s", number(line + 9, n - 9, LONGEST) * 1000, end);
			found = 1;
		} else if (!up && strncmp(line, "interval_ms=", 12) == 0) {
			long long ms = number(line + 12, n - 12, LONGEST * 1000);
			if (ms % 1000 != 0)
				refuse("no whole seconds: ", line);
			printf("interval=%lld%s", ms / 1000, end);
			found = 1;
		} else {
			fwrite(line, 1, n, stdout);
			fputs(end, stdout);
		}
	}
	if (ferror(stdin))
		return 1;
	if (!found)
		refuse("there is no interval", "");
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
