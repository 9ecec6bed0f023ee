# Values that tests/stats compare with, computed by R alone (base and stats packages). Run from this folder:
#   Rscript stats_c.R
# Reads stats_c_readers.csv (made by stats_c_readers.py), writes stats_c.csv with one name and value a line.
out <- list()
put <- function(name, value) out[[length(out) + 1]] <<- sprintf("%s,%.12g", name, value)

# Reader study: AUC by counting pairs, pseudovalues by leaving out one case, mean squares by aov.
d <- read.csv("stats_c_readers.csv")
auc <- function(rating, truth) {
  a <- rating[truth == 1]; b <- rating[truth == 0]
  mean(outer(a, b, function(x, y) (x > y) + 0.5 * (x == y)))
}
cases <- sort(unique(d$case)); n <- length(cases)
pseudo <- NULL
for (arm in unique(d$arm)) for (reader in unique(d$reader)) {
  part <- d[d$arm == arm & d$reader == reader, ]
  part <- part[order(part$case), ]
  all <- auc(part$rating, part$truth)
  put(paste0("auc.", arm, ".", reader), all)
  left <- sapply(seq_len(n), function(k) auc(part$rating[-k], part$truth[-k]))
  pseudo <- rbind(pseudo, data.frame(arm = arm, reader = reader, case = part$case, y = n * all - (n - 1) * left))
}
for (column in c("arm", "reader", "case")) pseudo[[column]] <- factor(pseudo[[column]])
table <- anova(lm(y ~ arm * reader * case, pseudo[, ]))
ms <- setNames(table[["Mean Sq"]], rownames(table))
for (name in names(ms)) if (!is.na(ms[[name]])) put(paste0("ms.", gsub(":", "_", name)), ms[[name]])
# The saturated model puts the three-way mean square into its own row.
error <- ms[["arm:reader"]] + max(ms[["arm:case"]] - ms[["arm:reader:case"]], 0)
arms <- nlevels(pseudo$arm); readers <- nlevels(pseudo$reader)
f <- ms[["arm"]] / error
df2 <- error^2 / (ms[["arm:reader"]]^2 / ((arms - 1) * (readers - 1)))
put("rrrc.f", f); put("rrrc.df2", df2); put("rrrc.p", pf(f, arms - 1, df2, lower.tail = FALSE))

# Reader x case table: two-way mean squares of the difference in right readings at threshold 3.
d$right <- as.numeric((d$rating >= 3) == (d$truth == 1))
wide <- reshape(d[, c("arm", "reader", "case", "right")], idvar = c("reader", "case"), timevar = "arm", direction = "wide")
wide$diff <- wide$right.a - wide$right.b
two <- anova(lm(diff ~ factor(reader) + factor(case), wide))
put("two_way.mean", mean(wide$diff))
put("two_way.ms_reader", two[1, "Mean Sq"]); put("two_way.ms_case", two[2, "Mean Sq"]); put("two_way.ms_rest", two[3, "Mean Sq"])

# Friedman and the studentised range, on a table with ties.
scores <- matrix(c(0.71, 0.69, 0.74, 0.70, 0.82, 0.80, 0.82, 0.79, 0.66, 0.70, 0.71, 0.64,
                   0.90, 0.88, 0.91, 0.90, 0.55, 0.60, 0.58, 0.51, 0.77, 0.75, 0.80, 0.76), ncol = 4, byrow = TRUE)
found <- friedman.test(scores)
put("friedman.chi2", found$statistic); put("friedman.p", found$p.value)
put("nemenyi.q", qtukey(0.95, 4, Inf) / sqrt(2))

# Drift tests.
x <- c(0.3, 1.1, -0.4, 0.9, 2.2, 0.1, -1.3, 0.6, 0.8, -0.2, 1.7, 0.5)
y <- c(1.4, 2.3, 0.7, 1.9, 3.1, 1.2, 0.4, 2.6, 1.8, 2.0)
ks <- ks.test(x, y, exact = TRUE)
put("ks.d", ks$statistic); put("ks.p_exact", ks$p.value)
chi <- suppressWarnings(chisq.test(matrix(c(30, 12, 8, 22, 25, 3), nrow = 2, byrow = TRUE), correct = FALSE))
put("chi2.statistic", chi$statistic); put("chi2.p", chi$p.value)

# Weighted power law by nls on points that follow one with known noise.
size <- c(5, 8, 12, 18, 25, 35, 50)
score <- c(0.612, 0.671, 0.702, 0.741, 0.757, 0.772, 0.789)
se <- c(0.030, 0.025, 0.022, 0.018, 0.016, 0.014, 0.012)
fit <- nls(score ~ a - b * size^(-g), start = list(a = 0.85, b = 0.7, g = 0.6), weights = 1 / se^2)
for (name in c("a", "b", "g")) put(paste0("power.", name), coef(fit)[[name]])
put("power.loss", sum(((score - predict(fit)) / se)^2))
put("power.at_200", coef(fit)[["a"]] - coef(fit)[["b"]] * 200^(-coef(fit)[["g"]]))

# Signal detection: d' and criterion with half a case added.
hit <- (15 + 0.5) / 21; false <- (7 + 0.5) / 26
put("dprime", qnorm(hit) - qnorm(false)); put("criterion", -(qnorm(hit) + qnorm(false)) / 2)

# Power of a paired t test, the normal limit of the simulated comparison.
put("power.paired_t", power.t.test(n = 40, delta = 0.02, sd = 0.05, type = "paired")$power)
put("power.mcnemar_exact", {
  p10 <- 0.15; p01 <- 0.05; n <- 60; total <- 0
  for (m in 1:n) for (k in 0:m) {
    p <- 2 * pbinom(min(k, m - k), m, 0.5) - dbinom(min(k, m - k), m, 0.5)   # mid-p, two-sided
    if (k == m - k) p <- 1
    if (p < 0.05 && k > m - k) total <- total + dbinom(m, n, p10 + p01) * dbinom(k, m, p10 / (p10 + p01))
  }
  total
})

writeLines(c(sprintf("# %s", R.version.string), "name,value", unlist(out)), "stats_c.csv")
