# Reference values for agreement and survival statistics, made with R; run `Rscript tests/golden/stats_b.R`.
# Writes tests/golden/stats_b.json: the simulated data and what R's packages say of them, with versions.
# Packages: survival, psych, epiR, riskRegression (with prodlim), jsonlite.
suppressPackageStartupMessages({
  library(survival); library(psych); library(epiR); library(riskRegression); library(prodlim); library(jsonlite)
})
set.seed(20261122, kind = "Mersenne-Twister", normal.kind = "Inversion")
out <- list(versions = list(R = as.character(getRversion()), survival = as.character(packageVersion("survival")),
  psych = as.character(packageVersion("psych")), epiR = as.character(packageVersion("epiR")),
  riskRegression = as.character(packageVersion("riskRegression"))))

# --- ICC: 20 subjects, 3 readers with different biases; psych::ICC from mean squares
subject <- rnorm(20, 50, 8)
ratings <- round(sapply(c(0, 2, -1), function(b) subject + b + rnorm(20, 0, 3)), 2)
r <- ICC(ratings, lmer = FALSE)$results
out$icc <- list(data = ratings, type = r$type, value = r$ICC, low = r[["lower bound"]], high = r[["upper bound"]],
  F = r$F, p = r$p)

# --- kappa: two readers, four ordered categories
first <- sample(1:4, 80, TRUE, c(4, 3, 2, 1))
second <- ifelse(runif(80) < 0.6, first, pmin(4, pmax(1, first + sample(c(-1, 1, 2), 80, TRUE))))
counts <- table(factor(first, 1:4), factor(second, 1:4))
linear <- 1 - abs(outer(1:4, 1:4, "-")) / 3
k2 <- cohen.kappa(counts); k1 <- cohen.kappa(counts, w = linear)
out$kappa <- list(first = first, second = second, unweighted = k2$kappa, unweighted_var = k2$var.kappa,
  quadratic = k2$weighted.kappa, quadratic_var = k2$var.weighted, linear = k1$weighted.kappa, linear_var = k1$var.weighted)

# --- paired measurements: correlation, Lin, paired t, Friedman (Kendall's W), repeated measures
x <- round(rnorm(30, 20, 4), 2); y <- round(0.9 * x + 3 + rnorm(30, 0, 1.5), 2)
p <- cor.test(x, y); t1 <- t.test(x, y, paired = TRUE)
ccc <- epi.ccc(x, y, ci = "z-transform")
out$paired <- list(x = x, y = y, pearson = c(p$estimate, p$conf.int), pearson_p = p$p.value,
  spearman = unname(cor(x, y, method = "spearman")), kendall = unname(cor(x, y, method = "kendall")),
  ccc = unlist(ccc$rho.c), t = unname(t1$statistic), t_p = t1$p.value, t_ci = as.numeric(t1$conf.int))
ranked <- round(ratings / 4)  # ties on purpose
f <- friedman.test(ranked)
out$friedman <- list(data = ranked, chisq = unname(f$statistic), p = f$p.value)
cond <- sapply(c(0, 0.8, 1.5, 1.2), function(b) subject / 4 + b + rnorm(20, 0, 1.2)); cond <- round(cond, 3)
fit <- lm(cond ~ 1); a <- anova(fit, X = ~1, test = "Spherical")
out$repeated <- list(data = cond, F = a$F[1], p = a[["Pr(>F)"]][1], gg = a[["G-G Pr"]][1], hf = a[["H-F Pr"]][1],
  eps = as.numeric(sub(".*: *", "", grep("epsilon", attr(a, "heading"), value = TRUE))))

# --- survival: 120 patients in two arms, rounded to whole months so that ties occur
n <- 120
arm <- rep(0:1, n / 2); age <- round(rnorm(n, 60, 9)); marker <- round(rnorm(n), 2)
event_time <- rexp(n, 0.04 * exp(0.5 * arm + 0.03 * (age - 60) + 0.6 * marker))
censor <- runif(n, 5, 60)
time <- pmax(1, round(pmin(event_time, censor))); status <- as.integer(event_time <= censor)
d <- data.frame(time, status, arm, age, marker, three = rep(0:2, n / 3))
S <- Surv(time, status)
km <- lapply(c("plain", "log", "log-log"), function(ct) {
  s <- summary(survfit(S ~ 1, conf.type = ct), times = c(6, 12, 24, 36))
  q <- quantile(survfit(S ~ 1, conf.type = ct), c(0.25, 0.5))
  list(type = ct, surv = s$surv, se = s$std.err, low = s$lower, high = s$upper, risk = s$n.risk,
    quantile = as.numeric(q$quantile), q_low = as.numeric(q$lower), q_high = as.numeric(q$upper))
})
rm <- summary(survfit(S ~ 1), rmean = 30)$table
ld <- survdiff(S ~ arm); l3 <- survdiff(S ~ three, data = d); ls <- survdiff(S ~ arm + strata(three), data = d)
ce <- coxph(S ~ arm + age + marker, ties = "efron"); cb <- coxph(S ~ arm + age + marker, ties = "breslow")
cc <- concordance(S ~ marker, reverse = TRUE)
cu <- concordance(S ~ marker, reverse = TRUE, timewt = "n/G2", ymax = 36)
c2 <- concordance(ce)
both <- concordance(coxph(S ~ marker), coxph(S ~ age))
out$survival <- list(data = as.list(d), km = km, rmean = c(rm[["rmean"]], rm[["se(rmean)"]]),
  logrank = list(chisq = ld$chisq, obs = ld$obs, exp = ld$exp), logrank3 = l3$chisq, logrank_strata = ls$chisq,
  cox = list(coef = unname(coef(ce)), se = unname(sqrt(diag(vcov(ce)))), loglik = ce$loglik,
    breslow = unname(coef(cb)), score = ce$score,
    base_time = basehaz(ce, centered = FALSE)$time, base = basehaz(ce, centered = FALSE)$hazard),
  harrell = c(cc$concordance, sqrt(cc$var)), uno = c(cu$concordance, sqrt(cu$var)),
  cox_c = c(c2$concordance, sqrt(c2$var)),
  two = list(c = unname(both$concordance), var = unname(both$var)))

# --- time-dependent AUC and Brier with Kaplan-Meier censoring weights: riskRegression::Score
times <- c(12, 24, 36)
risk <- sapply(times, function(t) 1 - exp(-0.045 * t * exp(0.7 * marker)))
sc <- Score(list(m = risk), formula = Surv(time, status) ~ 1, data = d, times = times, metrics = c("auc", "brier"),
  cens.model = "km", conf.int = TRUE, null.model = FALSE)
auc <- as.data.frame(sc$AUC$score); br <- as.data.frame(sc$Brier$score)
out$dynamic <- list(times = times, risk = risk, auc = auc$AUC, auc_se = auc$se, brier = br$Brier, brier_se = br$se)
write_json(out, "tests/golden/stats_b.json", digits = 12, auto_unbox = TRUE, matrix = "rowmajor")
cat("wrote tests/golden/stats_b.json\n")
